//! The one agent: Sofia's root, transports and the calls that make and answer transactions. What is unsafe
//! about them ends here; `program.rs` deals in ids and text.

use std::ffi::{CStr, CString, c_char, c_int};
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::path::Path;
use std::{fs, ptr};

use bifrons_sip_protocol::{RequestFlags, Settings, TlsSettings, TlsVerify, Transport};

use crate::event::{self, text_of};
use crate::gate::{self, Opening};
use crate::sys;
use crate::tags::{Tags, c_string};

/// How long a connection may live without having carried a SIP message, in milliseconds.
const SILENT_FLOW_MS: u32 = 60_000;

/// What the library takes, in bytes: any datagram. Smaller limits are the gate's and the program's, which count.
const STACK_BYTES_MAX: u32 = 65_535;

/// Handle of a client transaction. Valid until [`Outgoing::destroy`], which consumes it.
#[derive(Debug)]
pub(crate) struct Outgoing(ptr::NonNull<sys::nta_outgoing_t>);
/// Handle of a server transaction. Valid until [`Incoming::destroy`].
#[derive(Debug)]
pub(crate) struct Incoming(ptr::NonNull<sys::nta_incoming_t>);
/// Handle of a reliable response. Valid until its `Prack` event or [`Reliable::destroy`].
#[derive(Debug)]
pub(crate) struct Reliable(ptr::NonNull<sys::nta_reliable_t>);

/// Sofia's root and agent. Lives to the end of the process, and so is never destroyed.
pub(crate) struct Agent {
    root: *mut sys::su_root_t,
    agent: *mut sys::nta_agent_t,
    /// Sofia's epoll descriptor, to wait for in a poll of our own. None if it was not found.
    pub(crate) epoll: Option<RawFd>,
}

/// How and where to send a request.
pub(crate) struct Route<'a> {
    pub(crate) next_hop: &'a str,
    /// The library keeps the pointer with the transaction, for CANCEL and ACK.
    pub(crate) ident: &'static CStr,
    pub(crate) flow: Option<*mut sys::tport_t>,
}

/// Why the library did not take something.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The named piece cannot be parsed.
    Malformed(&'static str),
    /// The library said no.
    Stack(&'static str),
}

impl Agent {
    /// Starts the agent without any transport: each is added with an ident, since a request with an ident
    /// while some transport has none crashes the library.
    pub(crate) fn new(settings: &Settings) -> Result<Agent, String> {
        let before = epoll_descriptors();
        let t1x64 = i64::from(settings.t1_ms) * 64;
        let mut tags = Tags::new()
            .int(&raw const sys::ntatag_ua, 1)
            .int(&raw const sys::ntatag_udp_mtu, 65_535)
            .int(&raw const sys::ntatag_maxsize, STACK_BYTES_MAX)
            .int(&raw const sys::ntatag_max_proceeding, settings.server_transactions_max)
            .int(&raw const sys::ntatag_client_rport, 1)
            .int(&raw const sys::ntatag_server_rport, 1)
            .int(&raw const sys::ntatag_sip_t1, settings.t1_ms)
            .int(&raw const sys::ntatag_sip_t1x64, t1x64)
            .int(&raw const sys::ntatag_sip_t2, settings.t2_ms)
            .int(&raw const sys::ntatag_sip_t4, settings.t4_ms)
            .int(&raw const sys::ntatag_merge_482, 1)
            .int(&raw const sys::ntatag_cancel_487, 1)
            .int(&raw const sys::ntatag_extra_100, 1)
            .int(&raw const sys::ntatag_timeout_408, 1)
            .int(&raw const sys::ntatag_pass_100, 0);
        // SAFETY: called once, on the program's only thread; lists live through their calls; a URL of all
        // ones is the library's NONE.
        unsafe {
            if sys::su_init() != 0 {
                return Err("su_init failed".into());
            }
            let root = sys::su_root_create(ptr::null_mut());
            if root.is_null() {
                return Err("su_root_create failed".into());
            }
            sys::su_root_threading(root, 0);
            let none = ptr::without_provenance(usize::MAX);
            let (next, list) = (&raw const sys::tag_next, tags.list());
            let agent =
                sys::nta_agent_create(root, none, Some(event::on_message), event::magic(0), next, list);
            if agent.is_null() {
                return Err("nta_agent_create failed".into());
            }
            event::set_agent(agent);
            let mut tags = Tags::new().int(&raw const sys::ntatag_no_dialog, 1);
            let list = tags.list();
            let leg = sys::nta_leg_tcreate(agent, Some(event::on_request), event::magic(0), next, list);
            if leg.is_null() {
                return Err("nta_leg_tcreate failed".into());
            }
            let epoll = epoll_descriptors().into_iter().find(|fd| !before.contains(fd));
            Ok(Agent { root, agent, epoll })
        }
    }

    /// Version of the library.
    pub(crate) fn version(&self) -> String {
        // SAFETY: the agent lives; the version is a C string.
        let version = unsafe { event::bytes_of(sys::nta_agent_version(self.agent)) };
        String::from_utf8_lossy(&version).into_owned()
    }

    /// One turn of the library's loop without waiting. Returns milliseconds to its next timer; negative or
    /// very large: none.
    pub(crate) fn step(&self) -> i64 {
        // SAFETY: the root lives and this is its thread.
        unsafe { sys::su_root_step(self.root, 0) }
    }

    /// Opens a listener; `opening` may bring the socket. Returns its address.
    pub(crate) fn listen(
        &self,
        ident: &'static CStr,
        address: SocketAddr,
        via_host: &str,
        tls: Option<&TlsSettings>,
        opening: Opening,
    ) -> Result<SocketAddr, String> {
        let transport = opening.transport;
        let host = match address {
            SocketAddr::V4(v4) => v4.ip().to_string(),
            SocketAddr::V6(v6) => format!("[{}]", v6.ip()),
        };
        let port = match address.port() {
            0 => "*".to_owned(),
            port => port.to_string(),
        };
        let scheme = if transport == Transport::Tls { "sips" } else { "sip" };
        let name = transport.name();
        let url = if via_host.is_empty() {
            format!("{scheme}:{host}:{port};transport={name}")
        } else {
            format!("{scheme}:{via_host}:{port};transport={name};maddr={host}")
        };
        let url = c_string(url).ok_or("NUL in the address")?;
        let mut tags = Tags::new()
            .lasting(&raw const sys::tptag_ident, ident)
            .int(&raw const sys::tptag_idle, SILENT_FLOW_MS)
            .int(&raw const sys::tptag_sdwn_error, 1)
            .int(&raw const sys::tptag_pong2ping, 1)
            .int(&raw const sys::tptag_stun_server, 0);
        if transport == Transport::Tls {
            let tls = tls.ok_or("TLS without certificates: neither Listen nor Hello has a directory")?;
            for file in ["agent.pem", "cafile.pem"] {
                let path = Path::new(&tls.directory).join(file);
                fs::metadata(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            }
            let policy = match tls.verify {
                TlsVerify::None => 0x0,
                TlsVerify::Incoming => 0x1,
                TlsVerify::Outgoing => 0xA,
                TlsVerify::Both => 0xB,
            };
            let directory = c_string(tls.directory.as_str()).ok_or("NUL in the TLS directory")?;
            tags = tags
                .string(&raw const sys::tptag_certificate, &directory)
                .int(&raw const sys::tptag_tls_version, 0)
                .int(&raw const sys::tptag_tls_verify_policy, policy)
                .int(&raw const sys::tptag_tls_verify_depth, 4);
        }
        gate::with(|gate| gate.opening = Some(opening));
        // SAFETY: the agent lives; URL and list live through the call.
        let result = unsafe {
            let list = tags.list();
            sys::nta_agent_add_tport(self.agent, url.as_ptr(), &raw const sys::tag_next, list)
        };
        let error = std::io::Error::last_os_error();
        let opened = gate::with(|gate| gate.opening.take());
        match opened.and_then(|opened| opened.bound) {
            Some(bound) if result == 0 => Ok(bound),
            _ => Err(format!("{name} {address}: {error}")),
        }
    }

    /// Sends a request in a client transaction of this id.
    pub(crate) fn request(
        &self,
        id: u64,
        text: &[u8],
        route: &Route<'_>,
        flags: RequestFlags,
    ) -> Result<Outgoing, Failure> {
        let report_100 = i64::from(flags.contains(RequestFlags::REPORT_100));
        let tags = Tags::new().int(&raw const sys::ntatag_pass_100, report_100);
        self.send(Some(event::on_response), id, text, route, tags)
    }

    /// Sends the ACK to a 2xx. With the INVITE's branch, since the library aborts on an ACK whose INVITE it
    /// does not know. The library keeps it for the 2xx's repetitions.
    pub(crate) fn ack(&self, text: &[u8], route: &Route<'_>, branch: &str) -> Result<(), Failure> {
        let branch = c_string(branch).ok_or(Failure::Malformed("branch"))?;
        let tags = Tags::new().string(&raw const sys::ntatag_ack_branch, &branch);
        let ack = self.send(None, 0, text, route, tags)?;
        ack.destroy();
        Ok(())
    }

    fn send(
        &self,
        callback: Option<sys::nta_response_f>,
        id: u64,
        text: &[u8],
        route: &Route<'_>,
        tags: Tags,
    ) -> Result<Outgoing, Failure> {
        let next_hop = c_string(route.next_hop).ok_or(Failure::Malformed("next hop"))?;
        let mut tags = tags.lasting(&raw const sys::tptag_ident, route.ident);
        if let Some(flow) = route.flow {
            tags = tags.pointer(&raw const sys::ntatag_tport, flow.cast());
        }
        let url = if next_hop.is_empty() { ptr::null() } else { next_hop.as_ptr() };
        // SAFETY: the agent lives; the message is ours until the library takes it with a transaction.
        unsafe {
            let message = parse(text)?;
            let (next, list) = (&raw const sys::tag_next, tags.list());
            let transaction =
                sys::nta_outgoing_mcreate(self.agent, callback, event::magic(id), url, message, next, list);
            let failure = Failure::Stack("the request was not accepted: its URIs are not usable");
            ptr::NonNull::new(transaction).map(Outgoing).ok_or_else(|| {
                sys::msg_destroy(message);
                failure
            })
        }
    }

    /// An answer that is ready to be sent.
    fn response(
        &self,
        to: &Incoming,
        status: u16,
        reason: &str,
        to_tag: &str,
        headers: &[u8],
        body: &[u8],
    ) -> Result<*mut sys::msg_t, Failure> {
        let reason = c_string(reason).ok_or(Failure::Malformed("reason"))?;
        let to_tag = c_string(to_tag).ok_or(Failure::Malformed("To tag"))?;
        let headers = c_string(headers).ok_or(Failure::Malformed("headers"))?;
        // SAFETY: the transaction lives by its handle; the message is ours until returned.
        unsafe {
            let message = sys::nta_msg_create(self.agent, 0);
            if message.is_null() {
                return Err(Failure::Stack("out of memory"));
            }
            let public = sys::msg_object(message);
            let fail = |failure| {
                sys::msg_destroy(message);
                Err(failure)
            };
            if !headers.is_empty()
                && (sys::msg_header_add_str(message, public, headers.as_ptr()) < 0
                    || sys::msg_extract_errors(message) != 0)
            {
                return fail(Failure::Malformed("headers"));
            }
            if !body.is_empty() {
                // A message begins with its home.
                let payload =
                    sys::sip_payload_create(message.cast(), body.as_ptr().cast(), body.len() as isize);
                if payload.is_null() || sys::msg_header_insert(message, public, payload) < 0 {
                    return fail(Failure::Stack("out of memory"));
                }
            }
            if !to_tag.is_empty() {
                sys::nta_incoming_tag(to.0.as_ptr(), to_tag.as_ptr());
            }
            // The library keeps the pointer of the phrase, so the message's home must own it.
            let phrase: *const c_char =
                if reason.is_empty() { ptr::null() } else { sys::su_strdup(message.cast(), reason.as_ptr()) };
            let (status, end) = (c_int::from(status), ptr::null());
            let transaction = to.0.as_ptr();
            let completed = sys::nta_incoming_complete_response(transaction, message, status, phrase, end, 0);
            if completed < 0 {
                return fail(Failure::Malformed("headers"));
            }
            Ok(message)
        }
    }

    /// Answers a request.
    pub(crate) fn respond(
        &self,
        to: &Incoming,
        status: u16,
        reason: &str,
        to_tag: &str,
        headers: &[u8],
        body: &[u8],
    ) -> Result<(), Failure> {
        let message = self.response(to, status, reason, to_tag, headers, body)?;
        // SAFETY: the transaction lives by its handle; the message is given away. A failure to send is the
        // stack's to report, by a time-out of the transaction.
        unsafe { sys::nta_incoming_mreply(to.0.as_ptr(), message) };
        Ok(())
    }

    /// Answers an INVITE with a reliable provisional response of this id.
    #[expect(clippy::too_many_arguments, reason = "the fields of one message")]
    pub(crate) fn respond_reliably(
        &self,
        id: u64,
        to: &Incoming,
        status: u16,
        reason: &str,
        to_tag: &str,
        headers: &[u8],
        body: &[u8],
    ) -> Result<Reliable, Failure> {
        let message = self.response(to, status, reason, to_tag, headers, body)?;
        // SAFETY: as in `respond`; the library frees the message if it refuses.
        let reliable = unsafe {
            let (callback, magic): (Option<sys::nta_prack_f>, _) = (Some(event::on_prack), event::magic(id));
            sys::nta_reliable_mreply(to.0.as_ptr(), callback, magic, message)
        };
        let refused = Failure::Stack("the INVITE does not support 100rel, or has its final answer");
        ptr::NonNull::new(reliable).map(Reliable).ok_or(refused)
    }

    /// The library's own counters.
    pub(crate) fn counters(&self) -> Vec<(&'static str, u64)> {
        let mut values = [0usize; 6];
        let pointer = |value: &mut usize| ptr::from_mut(value).cast();
        let [bad, merged, stray, retried, our_requests, our_responses] = &mut values;
        let mut tags = Tags::new()
            .pointer(&raw const sys::ntatag_s_bad_message_ref, pointer(bad))
            .pointer(&raw const sys::ntatag_s_merged_request_ref, pointer(merged))
            .pointer(&raw const sys::ntatag_s_trless_response_ref, pointer(stray))
            .pointer(&raw const sys::ntatag_s_recv_retry_ref, pointer(retried))
            .pointer(&raw const sys::ntatag_s_retry_request_ref, pointer(our_requests))
            .pointer(&raw const sys::ntatag_s_retry_response_ref, pointer(our_responses));
        // SAFETY: the agent and the values that the list points to live through the call.
        unsafe {
            let list = tags.list();
            sys::nta_agent_get_stats(self.agent, &raw const sys::tag_next, list);
        }
        let names = [
            "stack_bad_messages",
            "stack_merged_requests",
            "stack_stray_responses",
            "stack_received_again",
            "stack_requests_repeated",
            "stack_responses_repeated",
        ];
        names.into_iter().zip(values.map(|value| value as u64)).collect()
    }
}

impl Outgoing {
    /// Cancels an INVITE, with header lines to add. The CANCEL is the library's from here on.
    pub(crate) fn cancel(&self, headers: &CString) {
        let mut tags = Tags::new();
        if !headers.is_empty() {
            tags = tags.string(&raw const sys::siptag_header_str, headers);
        }
        // SAFETY: the transaction lives by its handle; the list lives through the call.
        unsafe {
            let (next, list) = (&raw const sys::tag_next, tags.list());
            sys::nta_outgoing_tcancel(self.0.as_ptr(), None, ptr::null_mut(), next, list);
        }
    }

    /// A transaction of its own for another To tag.
    pub(crate) fn fork(&self, id: u64, to_tag: &CString) -> Option<Outgoing> {
        // SAFETY: the transaction lives by its handle; the tag is copied.
        let fork = unsafe {
            let (callback, magic): (Option<sys::nta_response_f>, _) =
                (Some(event::on_response), event::magic(id));
            sys::nta_outgoing_tagged(self.0.as_ptr(), callback, magic, to_tag.as_ptr(), ptr::null())
        };
        ptr::NonNull::new(fork).map(Outgoing)
    }

    /// The request as it was sent.
    pub(crate) fn text(&self) -> Vec<u8> {
        // SAFETY: the transaction lives by its handle; the reference is freed here.
        unsafe {
            let message = sys::nta_outgoing_getrequest(self.0.as_ptr());
            let text = text_of(message);
            sys::msg_destroy(message);
            text
        }
    }

    /// Lets it go. An INVITE without a final answer is killed.
    pub(crate) fn destroy(self) {
        // SAFETY: the handle was the only one.
        unsafe { sys::nta_outgoing_destroy(self.0.as_ptr()) };
    }
}

impl Incoming {
    /// Takes a transaction from its first event.
    pub(crate) fn new(transaction: *mut sys::nta_incoming_t) -> Option<Incoming> {
        ptr::NonNull::new(transaction).map(Incoming)
    }

    /// Method of the request.
    pub(crate) fn method(&self) -> Vec<u8> {
        // SAFETY: the transaction lives by its handle.
        unsafe { event::bytes_of(sys::nta_incoming_method_name(self.0.as_ptr())) }
    }

    /// The last answer as it was sent.
    pub(crate) fn response_text(&self) -> Vec<u8> {
        // SAFETY: the transaction lives by its handle; the reference is freed here.
        unsafe {
            let message = sys::nta_incoming_getresponse(self.0.as_ptr());
            let text = text_of(message);
            sys::msg_destroy(message);
            text
        }
    }

    /// Lets it go; without a final answer the library sends 500.
    pub(crate) fn destroy(self) {
        // SAFETY: the handle was the only one.
        unsafe { sys::nta_incoming_destroy(self.0.as_ptr()) };
    }
}

impl Reliable {
    /// Stops it; its PRACK is then answered by the library.
    pub(crate) fn destroy(self) {
        // SAFETY: the handle was the only one, and no `Prack` event has come.
        unsafe { sys::nta_reliable_destroy(self.0.as_ptr()) };
    }
}

/// Parses a request that control wrote. Everything that the library takes for granted later is checked.
///
/// # Safety
/// The result is the caller's to free.
unsafe fn parse(text: &[u8]) -> Result<*mut sys::msg_t, Failure> {
    // SAFETY: the text has the length given and is copied; the classes are the library's constants.
    unsafe {
        let class = sys::sip_default_mclass();
        let message = sys::msg_make(class, 0, text.as_ptr().cast(), text.len() as isize);
        if message.is_null() {
            return Err(Failure::Stack("out of memory"));
        }
        let public = sys::msg_object(message);
        let needed = [
            (&raw const sys::sip_request_class, "request line"),
            (&raw const sys::sip_from_class, "From"),
            (&raw const sys::sip_to_class, "To"),
            (&raw const sys::sip_call_id_class, "Call-ID"),
            (&raw const sys::sip_cseq_class, "CSeq"),
        ];
        let missing = needed.into_iter().find(|(header, _)| {
            let slot = sys::msg_hclass_offset(class, public, *header);
            slot.is_null() || (*slot).is_null()
        });
        let broken = (sys::msg_extract_errors(message) != 0).then_some("a header");
        if let Some(piece) = missing.map(|(_, name)| name).or(broken) {
            sys::msg_destroy(message);
            return Err(Failure::Malformed(piece));
        }
        Ok(message)
    }
}

/// Descriptors of this process that are epoll instances.
fn epoll_descriptors() -> Vec<RawFd> {
    let Ok(entries) = fs::read_dir("/proc/self/fd") else { return Vec::new() };
    let epolls = entries.flatten().filter(|entry| {
        fs::read_link(entry.path()).is_ok_and(|target| target.as_os_str() == "anon_inode:[eventpoll]")
    });
    epolls.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}
