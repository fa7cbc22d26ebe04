use std::ffi::{CStr, CString, c_char, c_int, c_uint};
use std::ptr;

use crate::library::{Nice, Opaque};

/// `NICE_COMPATIBILITY_RFC5245`, which is RFC 8445 as well.
const COMPATIBILITY: c_uint = 0;
const REGULAR_NOMINATION: c_uint = 1;
const LITE_MODE: c_uint = 1 << 2;
const CONSENT_FRESHNESS: c_uint = 1 << 5;
/// The only component.
const COMPONENT: c_uint = 1;

/// How an agent behaves.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Nominates; else follows.
    pub controlling: bool,
    /// Regular nomination; else aggressive (RFC 5245).
    pub regular: bool,
    /// Lite.
    pub lite: bool,
    /// RFC 7675.
    pub consent: bool,
}

/// `NiceComponentState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ComponentState {
    /// No activity.
    Disconnected,
    /// Gathering candidates.
    Gathering,
    /// Checks are running.
    Connecting,
    /// At least one pair works.
    Connected,
    /// Nominated and done.
    Ready,
    /// Has failed.
    Failed,
}

/// An agent with one stream of one component on 127.0.0.1, driven by [`turn`](NiceAgent::turn).
pub struct NiceAgent {
    nice: &'static Nice,
    context: Opaque,
    agent: Opaque,
    stream: c_uint,
    /// What has arrived: a box of ours whose address the C side keeps, freed after the agent.
    received: *mut Vec<Vec<u8>>,
}

impl NiceAgent {
    /// Makes an agent and has it gather. `None` where the library refuses.
    pub fn new(nice: &'static Nice, options: Options) -> Option<NiceAgent> {
        let s = &nice.symbols;
        let mut flags = 0;
        for (wanted, flag) in [
            (options.regular, REGULAR_NOMINATION),
            (options.lite, LITE_MODE),
            (options.consent, CONSENT_FRESHNESS),
        ] {
            flags |= if wanted { flag } else { 0 };
        }
        // SAFETY: no requirements; the caller owns the reference.
        let context = unsafe { (s.g_main_context_new)() };
        // SAFETY: `context` is alive; the agent takes its own reference.
        let agent = unsafe { (s.nice_agent_new_full)(context, COMPATIBILITY, flags) };
        if agent.is_null() {
            return None;
        }
        // From here on `Drop` frees all three.
        let received = Box::into_raw(Box::default());
        let mut this = NiceAgent { nice, context, agent, stream: 0, received };
        this.set(c"controlling-mode", options.controlling);
        this.set(c"upnp", false);
        this.set(c"ice-tcp", false);
        // SAFETY: the address is made, filled and freed here; the agent copies it.
        unsafe {
            let address = (s.nice_address_new)();
            let known = (s.nice_address_set_from_string)(address, c"127.0.0.1".as_ptr());
            let added = known != 0 && (s.nice_agent_add_local_address)(agent, address) != 0;
            (s.nice_address_free)(address);
            if !added {
                return None;
            }
        }
        // SAFETY: the agent is alive, the name ends with NUL, and `received` is a box that lives until
        // the agent is dropped; the callback runs inside `turn` only.
        unsafe {
            this.stream = (s.nice_agent_add_stream)(agent, 1);
            (s.nice_agent_set_stream_name)(agent, this.stream, c"audio".as_ptr());
            (s.nice_agent_attach_recv)(agent, this.stream, COMPONENT, context, receive, received.cast());
            if (s.nice_agent_gather_candidates)(agent, this.stream) == 0 {
                return None;
            }
        }
        Some(this)
    }

    /// Runs what is due without waiting.
    pub fn turn(&mut self) {
        // SAFETY: the context is alive and iterated by this thread alone (`self` is not `Send`).
        while unsafe { (self.nice.symbols.g_main_context_iteration)(self.context, 0) } != 0 {}
    }

    /// Ufrag, password and candidates as SDP lines.
    pub fn local_sdp(&self) -> String {
        // SAFETY: the agent is alive; the string is ours, NUL-terminated, and freed once.
        unsafe {
            let sdp = (self.nice.symbols.nice_agent_generate_local_sdp)(self.agent);
            if sdp.is_null() {
                return String::new();
            }
            let text = CStr::from_ptr(sdp).to_string_lossy().into_owned();
            (self.nice.symbols.g_free)(sdp.cast());
            text
        }
    }

    /// Gives the peer's credentials and candidate lines (without `a=`); whether they were taken.
    pub fn set_remote(&mut self, ufrag: &str, password: &str, candidates: &[String]) -> bool {
        let mut sdp =
            format!("m=audio 9 ICE/SDP\nc=IN IP4 127.0.0.1\na=ice-ufrag:{ufrag}\na=ice-pwd:{password}\n");
        for candidate in candidates {
            sdp += &format!("a={candidate}\n");
        }
        let Ok(sdp) = CString::new(sdp) else { return false };
        // SAFETY: the agent is alive and the text ends with NUL.
        unsafe { (self.nice.symbols.nice_agent_parse_remote_sdp)(self.agent, sdp.as_ptr()) >= 0 }
    }

    /// The component's state.
    pub fn state(&self) -> ComponentState {
        // SAFETY: the agent is alive.
        let state =
            unsafe { (self.nice.symbols.nice_agent_get_component_state)(self.agent, self.stream, COMPONENT) };
        match state {
            0 => ComponentState::Disconnected,
            1 => ComponentState::Gathering,
            2 => ComponentState::Connecting,
            3 => ComponentState::Connected,
            4 => ComponentState::Ready,
            _ => ComponentState::Failed,
        }
    }

    /// Sends over the selected pair; whether all went out.
    pub fn send(&mut self, datagram: &[u8]) -> bool {
        let Ok(len) = c_uint::try_from(datagram.len()) else { return false };
        // SAFETY: the agent is alive, the octets are read within the call.
        let sent = unsafe {
            let octets = datagram.as_ptr().cast::<c_char>();
            (self.nice.symbols.nice_agent_send)(self.agent, self.stream, COMPONENT, len, octets)
        };
        usize::try_from(sent) == Ok(datagram.len())
    }

    /// What has arrived besides STUN since the last call.
    pub fn take_received(&mut self) -> Vec<Vec<u8>> {
        // SAFETY: the box is alive, and the callback that writes to it runs inside `turn` only.
        std::mem::take(unsafe { &mut *self.received })
    }

    /// ICE restart: fresh credentials.
    pub fn restart(&mut self) -> bool {
        // SAFETY: the agent is alive.
        unsafe { (self.nice.symbols.nice_agent_restart)(self.agent) != 0 }
    }

    fn set(&mut self, property: &CStr, value: bool) {
        let end = ptr::null::<c_char>();
        // SAFETY: the agent is alive, the property is a gboolean of NiceAgent, and NULL ends the list.
        unsafe {
            (self.nice.symbols.g_object_set)(self.agent, property.as_ptr(), c_int::from(value), end);
        }
    }
}

impl Drop for NiceAgent {
    fn drop(&mut self) {
        // SAFETY: both references and the box are ours and given back once; after the agent no callback
        // can come that would use the box.
        unsafe {
            (self.nice.symbols.g_object_unref)(self.agent);
            (self.nice.symbols.g_main_context_unref)(self.context);
            drop(Box::from_raw(self.received));
        }
    }
}

unsafe extern "C" fn receive(
    _: Opaque,
    _: c_uint,
    _: c_uint,
    len: c_uint,
    octets: *const c_char,
    received: Opaque,
) {
    // SAFETY: libnice gives `len` readable octets, and the pointer that `new` registered: a live box
    // that nothing else uses while the main context runs.
    let (octets, received) = unsafe {
        (std::slice::from_raw_parts(octets.cast::<u8>(), len as usize), &mut *received.cast::<Vec<Vec<u8>>>())
    };
    received.push(octets.to_vec());
}
