//! AF_XDP: packets between the worker and a network device, past the kernel's stack.

// The driver that uses them is not in this folder yet.
#[allow(dead_code)]
mod neighbour;
#[allow(dead_code)]
mod netlink;
