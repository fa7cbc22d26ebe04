//! The XDP program: which packets come to a worker's ring, and an assembler for it.
//!
//! It is made at start, because the interface's addresses stand in it as constants. What it does not
//! understand it passes on to the kernel's own network stack, where the sockets are:
//!
//! ```text
//! frame to our MAC address, IPv4 without options and no fragment, or IPv6; UDP next;
//! to one of the addresses; ports[address][destination port] = number of this queue + 1
//!     → the socket of this queue
//! else → as if the program were not there
//! ```

use std::net::IpAddr;
use std::os::fd::RawFd;

/// Ports of an address: bytes of its part of the table.
pub(super) const PORTS: usize = 1 << 16;
/// What the program gives for a packet that is not for it (`enum xdp_action`).
pub(super) const XDP_PASS: i32 = 2;

/// An instruction (`struct bpf_insn`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Instruction {
    operation: u8,
    /// Destination in the lower half, source in the upper one.
    registers: u8,
    offset: i16,
    immediate: i32,
}

const _: () = assert!(cfg!(target_endian = "little"), "the halves of `registers` and the constants below");

/// A register. R1 to R5 are arguments of calls, R0 is their result.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Register {
    R0,
    R1,
    R2,
    R3,
    R4,
    R5,
    R6,
}
use Register::{R0, R1, R2, R3, R4, R5, R6};

/// Size of a load, as it stands in an instruction.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Size {
    Word = 0x00,
    Half = 0x08,
    Byte = 0x10,
}

/// A place that is jumped to.
#[derive(Clone, Copy)]
struct Label(usize);

/// Collects instructions, and fills in where jumps go.
#[derive(Default)]
struct Assembler {
    code: Vec<Instruction>,
    labels: Vec<Option<usize>>,
    jumps: Vec<(usize, Label)>,
}

impl Assembler {
    fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }

    /// The label names the next instruction.
    fn place(&mut self, label: Label) {
        self.labels[label.0] = Some(self.code.len());
    }

    fn push(&mut self, operation: u8, to: Register, from: u8, offset: i16, immediate: i32) {
        let registers = to as u8 | from << 4;
        self.code.push(Instruction { operation, registers, offset, immediate });
    }

    fn copy(&mut self, to: Register, from: Register) {
        self.push(0xbf, to, from as u8, 0, 0);
    }

    fn set(&mut self, to: Register, value: i32) {
        self.push(0xb7, to, 0, 0, value);
    }

    fn add(&mut self, to: Register, value: i32) {
        self.push(0x07, to, 0, 0, value);
    }

    fn add_register(&mut self, to: Register, from: Register) {
        self.push(0x0f, to, from as u8, 0, 0);
    }

    fn and(&mut self, to: Register, mask: i32) {
        self.push(0x57, to, 0, 0, mask);
    }

    /// The lower 16 bits from network order.
    fn network_half(&mut self, to: Register) {
        self.push(0xdc, to, 0, 0, 16);
    }

    fn load(&mut self, to: Register, size: Size, from: Register, offset: i16) {
        self.push(0x61 | size as u8, to, from as u8, offset, 0);
    }

    /// A pointer of 64 bits to a map (`kind` 1), or into the only value of one (`kind` 2).
    fn map(&mut self, to: Register, kind: u8, fd: RawFd, offset: i32) {
        self.push(0x18, to, kind, 0, fd);
        self.push(0, R0, 0, 0, offset);
    }

    fn jump(&mut self, operation: u8, a: Register, b: u8, value: i32, to: Label) {
        self.jumps.push((self.code.len(), to));
        self.push(operation, a, b, 0, value);
    }

    fn jump_always(&mut self, to: Label) {
        self.jump(0x05, R0, 0, 0, to);
    }

    /// Compares 32 bits.
    fn jump_if(&mut self, a: Register, is: u32, to: Label) {
        self.jump(0x16, a, 0, is.cast_signed(), to);
    }

    /// Compares 32 bits.
    fn jump_unless(&mut self, a: Register, is: u32, to: Label) {
        self.jump(0x56, a, 0, is.cast_signed(), to);
    }

    fn jump_if_differs(&mut self, a: Register, b: Register, to: Label) {
        self.jump(0x5d, a, b as u8, 0, to);
    }

    fn jump_if_above(&mut self, a: Register, b: Register, to: Label) {
        self.jump(0x2d, a, b as u8, 0, to);
    }

    fn call(&mut self, function: i32) {
        self.push(0x85, R0, 0, 0, function);
    }

    fn exit(&mut self) {
        self.push(0x95, R0, 0, 0, 0);
    }

    fn finish(mut self) -> Vec<Instruction> {
        for (at, label) in self.jumps {
            let to = self.labels[label.0].expect("each label of this file is placed");
            // Counted from the instruction behind the jump.
            self.code[at].offset = (to - at - 1) as i16;
        }
        self.code
    }
}

/// What a program is made for.
pub(super) struct Program<'a> {
    pub mac: [u8; 6],
    /// In the order of their parts of the table.
    pub addresses: &'a [IpAddr],
    /// The table of ports: an array with one value of [`PORTS`] bytes an address.
    pub ports: RawFd,
    /// The sockets by queue.
    pub sockets: RawFd,
    /// What is given for a packet whose queue has no socket.
    pub otherwise: i32,
}

const ETHERNET: i16 = 14;
const UDP: u32 = 17;
/// bpf_redirect_map(map, key, flags), bpf-helpers(7).
const REDIRECT_MAP: i32 = 51;

/// Bytes as a load of this size sees them.
fn half(bytes: [u8; 2]) -> u32 {
    u16::from_ne_bytes(bytes).into()
}

impl Program<'_> {
    pub(super) fn assemble(&self) -> Vec<Instruction> {
        let mut code = Assembler::default();
        let (pass, ipv6, port) = (code.label(), code.label(), code.label());
        // struct xdp_md: data, data_end, …, rx_queue_index at 16.
        code.copy(R6, R1);
        code.load(R2, Size::Word, R6, 0);
        code.load(R3, Size::Word, R6, 4);
        // IPv4 with UDP is the shortest that is of interest.
        code.copy(R4, R2);
        code.add(R4, 14 + 20 + 8);
        code.jump_if_above(R4, R3, pass);
        let [a, b, c, d, e, f] = self.mac;
        code.load(R4, Size::Word, R2, 0);
        code.jump_unless(R4, u32::from_ne_bytes([a, b, c, d]), pass);
        code.load(R4, Size::Half, R2, 4);
        code.jump_unless(R4, half([e, f]), pass);
        code.load(R4, Size::Half, R2, 12);
        code.jump_if(R4, half([0x86, 0xdd]), ipv6);
        code.jump_unless(R4, half([0x08, 0x00]), pass);

        // Version 4 and a header of five words; of the flags "do not fragment" at most, and offset 0.
        code.load(R4, Size::Byte, R2, ETHERNET);
        code.jump_unless(R4, 0x45, pass);
        code.load(R4, Size::Half, R2, ETHERNET + 6);
        code.and(R4, half([0xbf, 0xff]).cast_signed());
        code.jump_unless(R4, 0, pass);
        code.load(R4, Size::Byte, R2, ETHERNET + 9);
        code.jump_unless(R4, UDP, pass);
        code.load(R4, Size::Word, R2, ETHERNET + 16);
        code.load(R5, Size::Half, R2, ETHERNET + 22);
        for (number, address) in self.addresses.iter().enumerate() {
            let IpAddr::V4(address) = address else { continue };
            let next = code.label();
            code.jump_unless(R4, u32::from_ne_bytes(address.octets()), next);
            code.map(R1, 2, self.ports, (number * PORTS) as i32);
            code.jump_always(port);
            code.place(next);
        }
        code.jump_always(pass);

        code.place(ipv6);
        code.copy(R4, R2);
        code.add(R4, 14 + 40 + 8);
        code.jump_if_above(R4, R3, pass);
        code.load(R4, Size::Byte, R2, ETHERNET + 6);
        code.jump_unless(R4, UDP, pass);
        code.load(R5, Size::Half, R2, ETHERNET + 42);
        for (number, address) in self.addresses.iter().enumerate() {
            let IpAddr::V6(address) = address else { continue };
            let next = code.label();
            let octets = address.octets();
            let (words, _) = octets.as_chunks::<4>();
            for (word, at) in words.iter().zip(0..) {
                code.load(R4, Size::Word, R2, ETHERNET + 24 + 4 * at);
                code.jump_unless(R4, u32::from_ne_bytes(*word), next);
            }
            code.map(R1, 2, self.ports, (number * PORTS) as i32);
            code.jump_always(port);
            code.place(next);
        }
        code.jump_always(pass);

        // R1: the address's part of the table; R5: the port as it stands in the packet.
        code.place(port);
        code.network_half(R5);
        code.and(R5, 0xffff);
        code.add_register(R1, R5);
        code.load(R0, Size::Byte, R1, 0);
        code.load(R2, Size::Word, R6, 16);
        code.copy(R4, R2);
        code.add(R4, 1);
        code.jump_if_differs(R0, R4, pass);
        code.map(R1, 1, self.sockets, 0);
        code.set(R3, self.otherwise);
        code.call(REDIRECT_MAP);
        code.exit();

        code.place(pass);
        code.set(R0, XDP_PASS);
        code.exit();
        code.finish()
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::os::fd::AsRawFd;

    use bifrons_wire::frame::{Link, head};

    use super::super::bpf;
    use super::*;

    const XDP_DROP: i32 = 1;
    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 7];
    const LINK: Link = Link { destination_mac: MAC, source_mac: [2, 0, 0, 0, 0, 9] };

    /// The program on the kernel's test bench: it takes a frame on queue 0, which has no socket, so what it takes
    /// is dropped.
    struct Bench {
        program: std::os::fd::OwnedFd,
        ports: super::super::interface::PortTable,
        _sockets: std::os::fd::OwnedFd,
    }

    impl Bench {
        fn new(addresses: &[IpAddr]) -> Option<Self> {
            let make = || -> Result<Self, String> {
                let text = |error: std::io::Error| error.to_string();
                let ports = super::super::interface::PortTable::new(addresses.len()).map_err(text)?;
                let sockets = bpf::map(bpf::XSKMAP, 4, 1, 0).map_err(text)?;
                let program = Program {
                    mac: MAC,
                    addresses,
                    ports: ports.fd(),
                    sockets: sockets.as_raw_fd(),
                    otherwise: XDP_DROP,
                };
                match bpf::load(&program.assemble()) {
                    Ok(program) => Ok(Self { program, ports, _sockets: sockets }),
                    Err((error, log)) if log.is_empty() => Err(error.to_string()),
                    Err((error, log)) => panic!("{error}\n{log}"),
                }
            };
            make().map_err(|error| println!("skipped: bpf: {error}")).ok()
        }

        fn takes(&self, frame: &[u8]) -> bool {
            match bpf::run(&self.program, frame).unwrap() {
                XDP_DROP => true,
                XDP_PASS => false,
                other => panic!("{other}"),
            }
        }
    }

    fn frame(to: SocketAddr, payload: usize) -> Vec<u8> {
        let source: SocketAddr = match to {
            SocketAddr::V4(_) => "192.0.2.9:999".parse().unwrap(),
            SocketAddr::V6(_) => "[2001:db8::9]:999".parse().unwrap(),
        };
        let mut bytes = vec![0x5a; 96 + payload];
        let at = head(&mut bytes, 96, payload, &LINK, source, to).unwrap();
        bytes.split_off(at)
    }

    #[test]
    fn takes_what_is_plain_and_ours_and_nothing_else() {
        let ours: Vec<IpAddr> = ["192.0.2.1", "2001:db8::1", "192.0.2.2", "2001:db8:1::1"]
            .map(|text| text.parse().unwrap())
            .to_vec();
        let Some(bench) = Bench::new(&ours) else { return };
        for (number, ip) in ours.iter().enumerate() {
            for port in [1, 5_004, 0x1234, u16::MAX] {
                let to = SocketAddr::new(*ip, port);
                let plain = frame(to, 172);
                assert!(!bench.takes(&plain), "{to} is not open");
                bench.ports.set(number, port, 1);
                assert!(bench.takes(&plain), "{to}");
                // The shortest, and one without a checksum.
                assert!(bench.takes(&frame(to, 0)));
                let with = |at: usize, bytes: &[u8]| {
                    let mut frame = plain.clone();
                    frame[at..at + bytes.len()].copy_from_slice(bytes);
                    frame
                };
                let mut others = vec![
                    ("another MAC address", with(5, &[9])),
                    ("all MAC addresses", with(0, &[0xff; 6])),
                    ("a VLAN", with(12, &[0x81, 0])),
                    ("ARP", with(12, &[8, 6])),
                ];
                if ip.is_ipv4() {
                    others.extend([
                        ("options", with(14, &[0x46])),
                        ("more fragments", with(20, &[0x20])),
                        ("the second fragment", with(20, &[0, 1])),
                        ("the last fragment", with(20, &[0x1f, 0xff])),
                        ("a reserved flag", with(20, &[0x80])),
                        ("TCP", with(23, &[6])),
                        ("another host", with(33, &[77])),
                    ]);
                } else {
                    others.extend([
                        ("an extension header", with(20, &[60])),
                        ("a fragment", with(20, &[44])),
                        ("another host", with(53, &[77])),
                        ("another net", with(38, &[77])),
                    ]);
                }
                let [low, high] = port.to_be_bytes();
                let at = if ip.is_ipv4() { 36 } else { 56 };
                others.push(("another port", with(at, &[low, high ^ 2])));
                for (what, frame) in &others {
                    assert!(!bench.takes(frame), "{to}: {what}");
                }
                for cut in [14, 20, 34, 41, 61] {
                    assert!(cut > 41 && ip.is_ipv4() || !bench.takes(&plain[..cut]), "{to}: {cut} bytes");
                }
                bench.ports.set(number, port, 2);
                assert!(!bench.takes(&plain), "{to}: of another worker's queue");
                bench.ports.set(number, port, 0);
                assert!(!bench.takes(&plain), "{to}: closed");
            }
        }
    }

    /// As many addresses as an engine can have.
    #[test]
    fn the_verifier_takes_the_longest_program() {
        let max = bifrons_rtc::ice::LOCAL_CANDIDATES_MAX as u8;
        let mixed =
            |n: u8| -> IpAddr { if n.is_multiple_of(2) { [192, 0, 2, n].into() } else { [n; 16].into() } };
        let addresses: Vec<IpAddr> = (1..=max).map(mixed).collect();
        let Some(bench) = Bench::new(&addresses) else { return };
        let last = SocketAddr::new(mixed(max), 9);
        bench.ports.set(usize::from(max) - 1, 9, 1);
        assert!(bench.takes(&frame(last, 1)));
    }
}
