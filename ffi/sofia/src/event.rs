//! What Sofia's callbacks report, as plain values. A callback only copies: it never calls back into a
//! transaction, so none can be freed under the library's feet, and all decisions are made outside of it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ffi::{CStr, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::{mem, ptr};

use bifrons_sip_protocol::{Origin, TlsPeer, Transport};

use crate::flow;
use crate::gate::hooks::address;
use crate::sys;

/// Something that a callback saw.
#[derive(Debug)]
pub(crate) enum Event {
    /// A request, ACKs that match nothing included.
    Request { id: u64, transaction: *mut sys::nta_incoming_t, origin: Option<Origin>, text: Vec<u8> },
    /// The ACK or CANCEL of an INVITE.
    AckOrCancel { id: u64, text: Vec<u8> },
    /// The stack gave a server transaction up.
    IncomingTimeout { id: u64, status: c_int },
    /// An answer, or the stack's own.
    Response {
        id: u64,
        status: c_int,
        internal: bool,
        origin: Option<Origin>,
        branch: Vec<u8>,
        text: Vec<u8>,
    },
    /// A PRACK, or none in time; the reliable response is freed.
    Prack { id: u64, received: Option<Box<Event>> },
    /// An answer without a transaction.
    Stray { origin: Option<Origin>, text: Vec<u8> },
    /// A connection carried its first message.
    FlowUp { id: u64 },
    /// A connection broke; 0 is the peer's orderly close.
    FlowDown { id: u64, error: c_int },
}

thread_local! {
    static EVENTS: RefCell<VecDeque<Event>> = const { RefCell::new(VecDeque::new()) };
    static AGENT: Cell<*mut sys::nta_agent_t> = const { Cell::new(ptr::null_mut()) };
    static SERVER_IDS: Cell<u64> = const { Cell::new(0) };
    static PANICS: Cell<u64> = const { Cell::new(0) };
}

/// The oldest event.
pub(crate) fn next() -> Option<Event> {
    EVENTS.with_borrow_mut(VecDeque::pop_front)
}

pub(crate) fn push(event: Event) {
    EVENTS.with_borrow_mut(|events| events.push_back(event));
}

/// Panics caught in callbacks.
pub(crate) fn panics() -> u64 {
    PANICS.get()
}

pub(crate) fn set_agent(agent: *mut sys::nta_agent_t) {
    AGENT.set(agent);
}

/// A callback's context: a number, so that a late callback finds nothing instead of freed memory.
pub(crate) fn magic(id: u64) -> sys::magic_t {
    ptr::without_provenance_mut(id as usize)
}

fn id_of(magic: sys::magic_t) -> u64 {
    magic.addr() as u64
}

/// Every callback runs in here: a panic must not unwind into C. They all return 0, since other values make
/// the stack answer.
fn guard(callback: impl FnOnce()) -> c_int {
    if catch_unwind(AssertUnwindSafe(callback)).is_err() {
        PANICS.set(PANICS.get() + 1);
    }
    0
}

/// A request outside of a transaction: the default leg's callback.
pub(crate) unsafe extern "C" fn on_request(
    _magic: sys::magic_t,
    _leg: *mut sys::nta_leg_t,
    transaction: *mut sys::nta_incoming_t,
    _sip: *const sys::msg_pub_t,
) -> c_int {
    guard(|| {
        // SAFETY: the library gives a live transaction, or null, which is checked.
        if let Some(event) = unsafe { incoming(transaction) } {
            push(event);
        }
    })
}

/// # Safety
/// `transaction` is null or lives.
unsafe fn incoming(transaction: *mut sys::nta_incoming_t) -> Option<Event> {
    if transaction.is_null() {
        return None;
    }
    let id = SERVER_IDS.get() + 1;
    SERVER_IDS.set(id);
    // SAFETY: the transaction lives; getrequest and transport give references of our own, freed here.
    unsafe {
        sys::nta_incoming_bind(transaction, Some(on_ack_or_cancel), magic(id));
        let message = sys::nta_incoming_getrequest(transaction);
        let transport = sys::nta_incoming_transport(AGENT.get(), transaction, message);
        let (origin, text) = (origin(transport, message), text_of(message));
        sys::tport_unref(transport);
        sys::msg_destroy(message);
        Some(Event::Request { id, transaction, origin, text })
    }
}

/// ACK, CANCEL or (without a message) a time-out of a server transaction.
unsafe extern "C" fn on_ack_or_cancel(
    magic: sys::magic_t,
    transaction: *mut sys::nta_incoming_t,
    sip: *const sys::msg_pub_t,
) -> c_int {
    guard(|| {
        let id = id_of(magic);
        if transaction.is_null() || id == 0 {
            return;
        }
        // SAFETY: the transaction lives during its callback.
        unsafe {
            if sip.is_null() {
                push(Event::IncomingTimeout { id, status: sys::nta_incoming_status(transaction) });
                return;
            }
            let message = sys::nta_incoming_getrequest_ackcancel(transaction);
            let text = text_of(message);
            sys::msg_destroy(message);
            push(Event::AckOrCancel { id, text });
        }
    })
}

/// An answer to a client transaction.
pub(crate) unsafe extern "C" fn on_response(
    magic: sys::magic_t,
    transaction: *mut sys::nta_outgoing_t,
    sip: *const sys::msg_pub_t,
) -> c_int {
    guard(|| {
        if transaction.is_null() {
            return;
        }
        // SAFETY: the transaction lives during its callback; the references are freed here.
        unsafe {
            let internal = sip.is_null() || sys::nta_sip_is_internal(sip) != 0;
            let message = sys::nta_outgoing_getresponse(transaction);
            let transport = sys::nta_outgoing_transport(transaction);
            let origin = if internal { None } else { origin(transport, message) };
            let text = text_of(message);
            sys::tport_unref(transport);
            sys::msg_destroy(message);
            push(Event::Response {
                id: id_of(magic),
                status: sys::nta_outgoing_status(transaction),
                internal,
                origin,
                branch: bytes_of(sys::nta_outgoing_branch(transaction)),
                text,
            });
        }
    })
}

/// A PRACK for a reliable response, or (without one) its time-out. The response is freed in here, as the
/// library expects.
pub(crate) unsafe extern "C" fn on_prack(
    magic: sys::magic_t,
    reliable: *mut sys::nta_reliable_t,
    prack: *mut sys::nta_incoming_t,
    _sip: *const sys::msg_pub_t,
) -> c_int {
    guard(|| {
        // SAFETY: the library gives live objects or null.
        let received = unsafe { incoming(prack) };
        push(Event::Prack { id: id_of(magic), received: received.map(Box::new) });
        // SAFETY: the reliable response lives during its callback and is not used after.
        unsafe { sys::nta_reliable_destroy(reliable) };
    })
}

/// What belongs to no transaction and no leg: answers.
pub(crate) unsafe extern "C" fn on_message(
    _magic: sys::magic_t,
    agent: *mut sys::nta_agent_t,
    message: *mut sys::msg_t,
    _sip: *mut sys::msg_pub_t,
) -> c_int {
    guard(|| {
        if message.is_null() {
            return;
        }
        // SAFETY: the message is ours now; the transport is a reference of our own.
        unsafe {
            let transport = sys::nta_incoming_transport(agent, ptr::null_mut(), message);
            let event = Event::Stray { origin: origin(transport, message), text: text_of(message) };
            sys::tport_unref(transport);
            sys::msg_destroy(message);
            push(event);
        }
    })
}

/// A connection broke.
pub(crate) unsafe extern "C" fn on_flow_error(
    _stack: *mut sys::tp_stack_t,
    client: sys::magic_t,
    _transport: *mut sys::tport_t,
    _message: *mut sys::msg_t,
    error: c_int,
) {
    guard(|| push(Event::FlowDown { id: id_of(client), error }));
}

/// The whole message as text.
///
/// # Safety
/// `message` is null or lives.
pub(crate) unsafe fn text_of(message: *mut sys::msg_t) -> Vec<u8> {
    if message.is_null() {
        return Vec::new();
    }
    let mut len = 0;
    // SAFETY: without a home the library allocates a block of its own, which is freed below.
    unsafe {
        let text = sys::msg_as_string(ptr::null_mut(), message, ptr::null_mut(), 0, &raw mut len);
        if text.is_null() {
            return Vec::new();
        }
        let copy = std::slice::from_raw_parts(text.cast::<u8>(), len).to_vec();
        sys::su_free(ptr::null_mut(), text.cast::<c_void>());
        copy
    }
}

/// # Safety
/// `text` is null or a C string.
pub(crate) unsafe fn bytes_of(text: *const std::ffi::c_char) -> Vec<u8> {
    // SAFETY: as the caller says.
    if text.is_null() { Vec::new() } else { unsafe { CStr::from_ptr(text) }.to_bytes().to_vec() }
}

/// Where a message came from.
///
/// # Safety
/// Both are null or live.
unsafe fn origin(transport: *mut sys::tport_t, message: *mut sys::msg_t) -> Option<Origin> {
    if transport.is_null() || message.is_null() {
        return None;
    }
    // SAFETY: both live; the address storage has the length given.
    unsafe {
        let listener = sys::tport_parent(transport);
        let is_udp = sys::tport_is_udp(transport) != 0;
        let is_connection = sys::tport_is_secondary(transport) != 0 && !is_udp;
        let source = if is_connection {
            tport_address(transport)
        } else {
            let mut storage: libc::sockaddr_storage = mem::zeroed();
            let mut len = mem::size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            let name = (&raw mut storage).cast::<c_void>();
            let _ = sys::msg_get_address(message, name, &raw mut len);
            address(name.cast(), len)
        }?;
        let kind = transport_of(transport);
        let tls = (is_connection && kind == Transport::Tls).then(|| TlsPeer {
            subjects: subjects(sys::tport_delivered_from_subjects(transport, message)),
            verified: sys::tport_is_verified(transport) != 0,
        });
        let local = tport_address(listener)?;
        let ident = String::from_utf8_lossy(&bytes_of(sys::tport_ident(listener))).into_owned();
        let mut origin = Origin { source, local, ident, transport: kind, flow: None, tls };
        if is_connection {
            origin.flow = flow::seen(transport, &mut origin);
        }
        Some(origin)
    }
}

/// # Safety
/// The transport lives.
unsafe fn transport_of(transport: *const sys::tport_t) -> Transport {
    // SAFETY: as the caller says.
    unsafe {
        if sys::tport_has_tls(transport) != 0 {
            Transport::Tls
        } else if sys::tport_is_udp(transport) != 0 {
            Transport::Udp
        } else {
            Transport::Tcp
        }
    }
}

/// # Safety
/// The transport lives.
unsafe fn tport_address(transport: *const sys::tport_t) -> Option<std::net::SocketAddr> {
    // SAFETY: the library keeps the address as long as the transport.
    unsafe {
        let info = sys::tport_get_address(transport);
        if info.is_null() { None } else { address((*info).ai_addr, (*info).ai_addrlen) }
    }
}

/// At most 16 names of 255 bytes, so that a certificate cannot fill a frame.
///
/// # Safety
/// `list` is null or lives.
unsafe fn subjects(list: *const sys::su_strlst_t) -> Vec<String> {
    if list.is_null() {
        return Vec::new();
    }
    // SAFETY: the index is below the length; items are C strings.
    unsafe {
        (0..sys::su_strlst_len(list).min(16))
            .map(|index| bytes_of(sys::su_strlst_item(list, index)))
            .map(|name| String::from_utf8_lossy(&name[..name.len().min(255)]).into_owned())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_callback_takes_null() {
        let null = ptr::null_mut::<c_void>();
        // SAFETY: null is what is tested.
        unsafe {
            assert_eq!(on_request(null, null.cast(), null.cast(), null.cast()), 0);
            assert_eq!(on_ack_or_cancel(null, null.cast(), null.cast()), 0);
            assert_eq!(on_response(null, null.cast(), null.cast()), 0);
            assert_eq!(on_prack(magic(3), null.cast(), null.cast(), null.cast()), 0);
            assert_eq!(on_message(null, null.cast(), null.cast(), null.cast()), 0);
            on_flow_error(null.cast(), magic(4), null.cast(), null.cast(), 0);
        }
        assert!(matches!(next(), Some(Event::Prack { id: 3, received: None })));
        assert!(matches!(next(), Some(Event::FlowDown { id: 4, error: 0 })));
        assert!(next().is_none());
        assert_eq!(panics(), 0);
    }

    #[test]
    fn a_panic_ends_in_the_callback() {
        assert_eq!(guard(|| panic!("as a test")), 0);
        assert_eq!(panics(), 1);
    }
}
