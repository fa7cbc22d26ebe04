//! The part of Sofia-SIP's C interface that is used, written down by hand: everything is opaque but three
//! small structs, so that no layout of the library's messages is relied on. From the headers of 1.12.11.
//!
//! Functions that take a tag list in C are variadic. Each is called with exactly two variadic arguments,
//! [`tag_next`] and a pointer to a list (`tags.rs`).
#![allow(non_camel_case_types, missing_docs)]

use std::ffi::{c_char, c_int, c_long, c_uint, c_void};

macro_rules! opaque {
    ($($name:ident)*) => {$(
        #[repr(C)]
        pub struct $name {
            _private: [u8; 0],
        }
    )*};
}
opaque!(su_root_t su_home_t su_log_t su_strlst_t msg_t msg_pub_t msg_mclass_t msg_hclass_s msg_header_t
    tag_type_s
    nta_agent_t nta_leg_t nta_incoming_t nta_outgoing_t nta_reliable_t tport_t tp_stack_t);

/// A tag's value: an integer or a pointer.
pub type tag_value_t = isize;
/// A tag's name: the address of a constant.
pub type tag_type_t = *const tag_type_s;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct tagi_t {
    pub t_tag: tag_type_t,
    pub t_value: tag_value_t,
}

/// Contexts of callbacks are numbers, never pointers.
pub type magic_t = *mut c_void;

pub type nta_message_f = unsafe extern "C" fn(magic_t, *mut nta_agent_t, *mut msg_t, *mut msg_pub_t) -> c_int;
pub type nta_request_f =
    unsafe extern "C" fn(magic_t, *mut nta_leg_t, *mut nta_incoming_t, *const msg_pub_t) -> c_int;
pub type nta_ack_cancel_f = unsafe extern "C" fn(magic_t, *mut nta_incoming_t, *const msg_pub_t) -> c_int;
pub type nta_response_f = unsafe extern "C" fn(magic_t, *mut nta_outgoing_t, *const msg_pub_t) -> c_int;
pub type nta_prack_f =
    unsafe extern "C" fn(magic_t, *mut nta_reliable_t, *mut nta_incoming_t, *const msg_pub_t) -> c_int;
pub type tport_pending_error_f =
    unsafe extern "C" fn(*mut tp_stack_t, magic_t, *mut tport_t, *mut msg_t, c_int);
pub type su_logger_f = unsafe extern "C" fn(*mut c_void, *const c_char, *mut c_void);

unsafe extern "C" {
    pub fn su_init() -> c_int;
    pub fn su_root_create(magic: *mut c_void) -> *mut su_root_t;
    pub fn su_root_threading(root: *mut su_root_t, enable: c_int) -> c_int;
    pub fn su_root_step(root: *mut su_root_t, timeout_ms: c_long) -> c_long;
    pub fn su_free(home: *mut su_home_t, block: *mut c_void);
    pub fn su_strdup(home: *mut su_home_t, text: *const c_char) -> *mut c_char;
    pub fn su_log_redirect(log: *mut su_log_t, logger: Option<su_logger_f>, stream: *mut c_void);
    pub fn su_strlst_item(list: *const su_strlst_t, index: usize) -> *const c_char;
    pub fn su_strlst_len(list: *const su_strlst_t) -> usize;

    pub fn sip_default_mclass() -> *const msg_mclass_t;
    pub fn sip_payload_create(home: *mut su_home_t, data: *const c_void, len: isize) -> *mut msg_header_t;
    pub fn msg_make(class: *const msg_mclass_t, flags: c_int, data: *const c_void, len: isize) -> *mut msg_t;
    pub fn msg_object(message: *const msg_t) -> *mut msg_pub_t;
    pub fn msg_as_string(
        home: *mut su_home_t,
        message: *mut msg_t,
        public: *mut msg_pub_t,
        flags: c_int,
        len: *mut usize,
    ) -> *mut c_char;
    pub fn msg_hclass_offset(
        class: *const msg_mclass_t,
        public: *const msg_pub_t,
        header: *const msg_hclass_s,
    ) -> *mut *mut msg_header_t;
    pub fn msg_extract_errors(message: *const msg_t) -> c_uint;
    pub fn msg_header_add_str(message: *mut msg_t, public: *mut msg_pub_t, text: *const c_char) -> c_int;
    pub fn msg_header_insert(message: *mut msg_t, public: *mut msg_pub_t, header: *mut msg_header_t)
    -> c_int;
    pub fn msg_get_address(message: *mut msg_t, address: *mut c_void, len: *mut libc::socklen_t) -> c_int;
    pub fn msg_destroy(message: *mut msg_t);

    pub fn nta_agent_create(
        root: *mut su_root_t,
        url: *const c_char,
        callback: Option<nta_message_f>,
        magic: magic_t,
        tag: tag_type_t,
        value: tag_value_t,
        ...
    ) -> *mut nta_agent_t;
    pub fn nta_agent_version(agent: *const nta_agent_t) -> *const c_char;
    pub fn nta_agent_add_tport(
        agent: *mut nta_agent_t,
        url: *const c_char,
        tag: tag_type_t,
        value: tag_value_t,
        ...
    ) -> c_int;
    pub fn nta_agent_get_stats(agent: *mut nta_agent_t, tag: tag_type_t, value: tag_value_t, ...) -> c_int;
    pub fn nta_msg_create(agent: *mut nta_agent_t, flags: c_int) -> *mut msg_t;
    pub fn nta_sip_is_internal(sip: *const msg_pub_t) -> c_int;
    pub fn nta_leg_tcreate(
        agent: *mut nta_agent_t,
        callback: Option<nta_request_f>,
        magic: magic_t,
        tag: tag_type_t,
        value: tag_value_t,
        ...
    ) -> *mut nta_leg_t;

    pub fn nta_incoming_bind(
        transaction: *mut nta_incoming_t,
        callback: Option<nta_ack_cancel_f>,
        magic: magic_t,
    );
    pub fn nta_incoming_tag(transaction: *mut nta_incoming_t, tag: *const c_char) -> *const c_char;
    pub fn nta_incoming_status(transaction: *const nta_incoming_t) -> c_int;
    pub fn nta_incoming_method_name(transaction: *const nta_incoming_t) -> *const c_char;
    pub fn nta_incoming_getrequest(transaction: *mut nta_incoming_t) -> *mut msg_t;
    pub fn nta_incoming_getresponse(transaction: *mut nta_incoming_t) -> *mut msg_t;
    pub fn nta_incoming_getrequest_ackcancel(transaction: *mut nta_incoming_t) -> *mut msg_t;
    pub fn nta_incoming_transport(
        agent: *mut nta_agent_t,
        transaction: *mut nta_incoming_t,
        message: *mut msg_t,
    ) -> *mut tport_t;
    pub fn nta_incoming_complete_response(
        transaction: *mut nta_incoming_t,
        message: *mut msg_t,
        status: c_int,
        phrase: *const c_char,
        tag: tag_type_t,
        value: tag_value_t,
        ...
    ) -> c_int;
    pub fn nta_incoming_mreply(transaction: *mut nta_incoming_t, message: *mut msg_t) -> c_int;
    pub fn nta_incoming_destroy(transaction: *mut nta_incoming_t);

    pub fn nta_outgoing_mcreate(
        agent: *mut nta_agent_t,
        callback: Option<nta_response_f>,
        magic: magic_t,
        route: *const c_char,
        message: *mut msg_t,
        tag: tag_type_t,
        value: tag_value_t,
        ...
    ) -> *mut nta_outgoing_t;
    pub fn nta_outgoing_tcancel(
        transaction: *mut nta_outgoing_t,
        callback: Option<nta_response_f>,
        magic: magic_t,
        tag: tag_type_t,
        value: tag_value_t,
        ...
    ) -> *mut nta_outgoing_t;
    pub fn nta_outgoing_tagged(
        transaction: *mut nta_outgoing_t,
        callback: Option<nta_response_f>,
        magic: magic_t,
        to_tag: *const c_char,
        rseq: *const c_void,
    ) -> *mut nta_outgoing_t;
    pub fn nta_outgoing_status(transaction: *const nta_outgoing_t) -> c_int;
    pub fn nta_outgoing_branch(transaction: *const nta_outgoing_t) -> *const c_char;
    pub fn nta_outgoing_getrequest(transaction: *mut nta_outgoing_t) -> *mut msg_t;
    pub fn nta_outgoing_getresponse(transaction: *mut nta_outgoing_t) -> *mut msg_t;
    pub fn nta_outgoing_transport(transaction: *mut nta_outgoing_t) -> *mut tport_t;
    pub fn nta_outgoing_destroy(transaction: *mut nta_outgoing_t);

    pub fn nta_reliable_mreply(
        transaction: *mut nta_incoming_t,
        callback: Option<nta_prack_f>,
        magic: magic_t,
        message: *mut msg_t,
    ) -> *mut nta_reliable_t;
    pub fn nta_reliable_destroy(reliable: *mut nta_reliable_t);

    pub fn tport_ref(transport: *mut tport_t) -> *mut tport_t;
    pub fn tport_unref(transport: *mut tport_t);
    pub fn tport_parent(transport: *const tport_t) -> *mut tport_t;
    pub fn tport_ident(transport: *const tport_t) -> *const c_char;
    pub fn tport_is_secondary(transport: *const tport_t) -> c_int;
    pub fn tport_is_closed(transport: *const tport_t) -> c_int;
    pub fn tport_is_shutdown(transport: *const tport_t) -> c_int;
    pub fn tport_has_tls(transport: *const tport_t) -> c_int;
    pub fn tport_is_udp(transport: *const tport_t) -> c_int;
    pub fn tport_is_verified(transport: *const tport_t) -> c_int;
    pub fn tport_get_address(transport: *const tport_t) -> *const libc::addrinfo;
    pub fn tport_delivered_from_subjects(
        transport: *mut tport_t,
        message: *const msg_t,
    ) -> *const su_strlst_t;
    pub fn tport_shutdown(transport: *mut tport_t, how: c_int) -> c_int;
    pub fn tport_set_params(transport: *mut tport_t, tag: tag_type_t, value: tag_value_t, ...) -> c_int;
    pub fn tport_pend(
        transport: *mut tport_t,
        message: *mut msg_t,
        callback: Option<tport_pending_error_f>,
        client: magic_t,
    ) -> c_int;
    pub fn tport_release(
        transport: *mut tport_t,
        pending: c_int,
        message: *mut msg_t,
        reply: *mut msg_t,
        client: magic_t,
        still_pending: c_int,
    ) -> c_int;

    /// From the C library (`nss.h`): which services `getaddrinfo` asks.
    pub fn __nss_configure_lookup(database: *const c_char, services: *const c_char) -> c_int;
    /// From the C library, with the `va_list` as the pointer that it is passed as on every 64-bit Unix.
    pub fn vsnprintf(buffer: *mut c_char, len: usize, format: *const c_char, arguments: *mut c_void)
    -> c_int;
}

unsafe extern "C" {
    pub static sip_request_class: msg_hclass_s;
    pub static sip_from_class: msg_hclass_s;
    pub static sip_to_class: msg_hclass_s;
    pub static sip_call_id_class: msg_hclass_s;
    pub static sip_cseq_class: msg_hclass_s;
    pub static tag_next: tag_type_s;
    pub static ntatag_ua: tag_type_s;
    pub static ntatag_udp_mtu: tag_type_s;
    pub static ntatag_maxsize: tag_type_s;
    pub static ntatag_max_proceeding: tag_type_s;
    pub static ntatag_client_rport: tag_type_s;
    pub static ntatag_server_rport: tag_type_s;
    pub static ntatag_sip_t1: tag_type_s;
    pub static ntatag_sip_t1x64: tag_type_s;
    pub static ntatag_sip_t2: tag_type_s;
    pub static ntatag_sip_t4: tag_type_s;
    pub static ntatag_merge_482: tag_type_s;
    pub static ntatag_cancel_487: tag_type_s;
    pub static ntatag_pass_100: tag_type_s;
    pub static ntatag_extra_100: tag_type_s;
    pub static ntatag_timeout_408: tag_type_s;
    pub static ntatag_no_dialog: tag_type_s;
    pub static ntatag_ack_branch: tag_type_s;
    pub static ntatag_tport: tag_type_s;
    pub static ntatag_s_bad_message_ref: tag_type_s;
    pub static ntatag_s_merged_request_ref: tag_type_s;
    pub static ntatag_s_trless_response_ref: tag_type_s;
    pub static ntatag_s_recv_retry_ref: tag_type_s;
    pub static ntatag_s_retry_request_ref: tag_type_s;
    pub static ntatag_s_retry_response_ref: tag_type_s;
    pub static siptag_header_str: tag_type_s;
    pub static tptag_ident: tag_type_s;
    pub static tptag_certificate: tag_type_s;
    pub static tptag_tls_version: tag_type_s;
    pub static tptag_tls_verify_policy: tag_type_s;
    pub static tptag_tls_verify_depth: tag_type_s;
    pub static tptag_idle: tag_type_s;
    pub static tptag_keepalive: tag_type_s;
    pub static tptag_pingpong: tag_type_s;
    pub static tptag_pong2ping: tag_type_s;
    pub static tptag_sdwn_error: tag_type_s;
    pub static tptag_stun_server: tag_type_s;
}
