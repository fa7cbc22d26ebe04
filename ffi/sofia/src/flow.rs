//! TCP and TLS connections that have carried a SIP message: their numbers, end and idle time.
//!
//! Each is held by a reference, so that its address is not reused while control may name it, and by a pending
//! entry, through which the library tells its end. The reference stops the library's own idle timer;
//! [`idle`] stands in for it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::c_int;
use std::net::{IpAddr, SocketAddr};
use std::ptr;

use bifrons_sip_protocol::{FlowId, Origin, TlsPeer, Transport};

use crate::clock;
use crate::event::{self, Event};
use crate::sys;
use crate::tags::Tags;

/// What is known of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Flow {
    transport: *mut sys::tport_t,
    pending: c_int,
    pub(crate) kind: Transport,
    pub(crate) ident: String,
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    pub(crate) tls: Option<TlsPeer>,
    used_ms: u64,
}

#[derive(Default)]
struct Flows {
    by_id: HashMap<u64, Flow>,
    by_transport: HashMap<usize, u64>,
    by_source: HashMap<IpAddr, u32>,
    last_id: u64,
}

thread_local! {
    static FLOWS: RefCell<Flows> = RefCell::new(Flows::default());
}

/// Number of a connection that carried a message now. What is known of its certificate from earlier messages
/// is put into the origin if this one has none.
///
/// # Safety
/// The transport lives and is a connection.
pub(crate) unsafe fn seen(transport: *mut sys::tport_t, origin: &mut Origin) -> Option<FlowId> {
    let known = FLOWS.with_borrow_mut(|flows| {
        let id = *flows.by_transport.get(&transport.addr())?;
        let flow = flows.by_id.get_mut(&id)?;
        flow.used_ms = clock::steady_ms();
        match &mut flow.tls {
            Some(known) if !known.subjects.is_empty() => origin.tls = Some(known.clone()),
            known => *known = origin.tls.clone(),
        }
        Some(FlowId(id))
    });
    // SAFETY: as the caller says.
    known.or_else(|| unsafe { add(transport, origin) })
}

/// # Safety
/// As for [`seen`].
unsafe fn add(transport: *mut sys::tport_t, origin: &Origin) -> Option<FlowId> {
    let id = FLOWS.with_borrow_mut(|flows| {
        flows.last_id += 1;
        flows.last_id
    });
    // SAFETY: the transport lives, and the reference keeps it so until `forget`.
    let (transport, pending) = unsafe {
        let held = sys::tport_ref(transport);
        (held, sys::tport_pend(held, ptr::null_mut(), Some(event::on_flow_error), event::magic(id)))
    };
    let flow = Flow {
        transport,
        pending,
        kind: origin.transport,
        ident: origin.ident.clone(),
        local: origin.local,
        remote: origin.source,
        tls: origin.tls.clone(),
        used_ms: clock::steady_ms(),
    };
    FLOWS.with_borrow_mut(|flows| {
        flows.by_transport.insert(transport.addr(), id);
        *flows.by_source.entry(flow.remote.ip()).or_default() += 1;
        flows.by_id.insert(id, flow);
    });
    event::push(Event::FlowUp { id });
    Some(FlowId(id))
}

/// What is known of a connection.
pub(crate) fn get(id: FlowId) -> Option<Flow> {
    FLOWS.with_borrow(|flows| flows.by_id.get(&id.0).cloned())
}

/// How many there are.
pub(crate) fn len() -> usize {
    FLOWS.with_borrow(|flows| flows.by_id.len())
}

/// How many there are, and how many of them from one address.
pub(crate) fn count(source: IpAddr) -> (usize, usize) {
    FLOWS
        .with_borrow(|flows| (flows.by_id.len(), flows.by_source.get(&source).copied().unwrap_or(0) as usize))
}

/// The connection's transport for sending, if it is open.
pub(crate) fn transport(id: FlowId) -> Option<*mut sys::tport_t> {
    FLOWS.with_borrow_mut(|flows| {
        let flow = flows.by_id.get_mut(&id.0)?;
        flow.used_ms = clock::steady_ms();
        // SAFETY: held by our reference.
        let is_open = unsafe {
            sys::tport_is_closed(flow.transport) == 0 && sys::tport_is_shutdown(flow.transport) == 0
        };
        is_open.then_some(flow.transport)
    })
}

/// Closes a connection and lets it go. Its pending requests get their errors from the library.
pub(crate) fn close(id: FlowId) -> Option<Flow> {
    let flow = FLOWS.with_borrow_mut(|flows| {
        let flow = flows.by_id.remove(&id.0)?;
        flows.by_transport.remove(&flow.transport.addr());
        if let Some(count) = flows.by_source.get_mut(&flow.remote.ip()) {
            *count -= 1;
            if *count == 0 {
                flows.by_source.remove(&flow.remote.ip());
            }
        }
        Some(flow)
    })?;
    // SAFETY: the reference holds the transport until the last line; the pending entry is ours.
    unsafe {
        if flow.pending > 0 {
            let client = event::magic(id.0);
            sys::tport_release(flow.transport, flow.pending, ptr::null_mut(), ptr::null_mut(), client, 0);
        }
        sys::tport_shutdown(flow.transport, 2);
        sys::tport_unref(flow.transport);
    }
    Some(flow)
}

/// Sets the keep-alive of RFC 5626 §3.5.1. False if there is no such connection.
pub(crate) fn ping(id: FlowId, interval_ms: u32) -> bool {
    let Some(transport) = transport(id) else { return false };
    let mut tags = Tags::new()
        .int(&raw const sys::tptag_keepalive, interval_ms)
        .int(&raw const sys::tptag_pingpong, interval_ms);
    // SAFETY: the transport is held; the list lives through the call.
    unsafe {
        let list = tags.list();
        sys::tport_set_params(transport, &raw const sys::tag_next, list) >= 0
    }
}

/// Connections without a message for so long, and those that the library has closed.
pub(crate) fn idle(idle_ms: u64) -> Vec<(FlowId, bool)> {
    let now_ms = clock::steady_ms();
    FLOWS.with_borrow(|flows| {
        let ended = flows.by_id.iter().filter_map(|(id, flow)| {
            // SAFETY: held by our reference.
            let closed = unsafe { sys::tport_is_closed(flow.transport) != 0 };
            let idle = idle_ms > 0 && now_ms.saturating_sub(flow.used_ms) >= idle_ms;
            (closed || idle).then_some((FlowId(*id), closed))
        });
        ended.collect()
    })
}
