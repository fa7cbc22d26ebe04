use std::net::SocketAddrV4;
use std::ptr;

use crate::library::{Nice, Opaque};

/// `STUN_COMPATIBILITY_RFC5389`.
const COMPATIBILITY: u32 = 1;
/// Short-term credentials and fingerprint.
const USAGE: u32 = 1 | 1 << 2;
/// `STUN_USAGE_ICE_COMPATIBILITY_RFC5245`.
const ICE: u32 = 0;
/// USERNAME, MESSAGE-INTEGRITY, ERROR-CODE, XOR-MAPPED-ADDRESS, PRIORITY, USE-CANDIDATE, and the
/// optional ones of ICE, ended by 0.
static KNOWN: [u16; 9] = [0x0006, 0x0008, 0x0009, 0x0020, 0x0024, 0x0025, 0x8029, 0x802a, 0];

/// libnice's STUN code on plain buffers: a second opinion on our messages.
pub struct StunOracle {
    nice: &'static Nice,
    /// A `StunAgent`, 12.8 kB in 0.1.21, which points to `KNOWN`; in words for its alignment.
    agent: Box<[u64; 4096]>,
    password: Vec<u8>,
}

/// Room for a `StunMessage`, 64 octets in 0.1.21.
type MessageRoom = [u64; 64];

impl StunOracle {
    /// An agent for messages signed with `password`.
    pub fn new(nice: &'static Nice, password: &str) -> StunOracle {
        let mut agent = Box::new([0; 4096]);
        // SAFETY: the room is larger than a StunAgent and aligned for it; `KNOWN` is static.
        unsafe {
            (nice.symbols.stun_agent_init)(agent.as_mut_ptr().cast(), KNOWN.as_ptr(), COMPATIBILITY, USAGE);
        }
        StunOracle { nice, agent, password: password.into() }
    }

    /// Whether libnice takes a message: frame, fingerprint, integrity, attributes. A response must
    /// answer the last check that [`check`](StunOracle::check) made.
    pub fn accepts(&mut self, message: &[u8]) -> bool {
        self.validate(&mut [0; 64], message)
    }

    /// libnice's answer to a request, as controlled agent; `None` where it gives none.
    pub fn answer(&mut self, request: &[u8], source: SocketAddrV4) -> Option<Vec<u8>> {
        let (mut received, mut reply): (MessageRoom, MessageRoom) = ([0; 64], [0; 64]);
        if !self.validate(&mut received, request) {
            return None;
        }
        // SAFETY: all zero is a valid sockaddr_storage.
        let mut address: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
        // SAFETY: sockaddr_storage is large enough and aligned for sockaddr_in.
        let v4 = unsafe { &mut *ptr::from_mut(&mut address).cast::<libc::sockaddr_in>() };
        v4.sin_family = libc::AF_INET as libc::sa_family_t;
        v4.sin_port = source.port().to_be();
        v4.sin_addr.s_addr = u32::from_ne_bytes(source.ip().octets());
        let (mut buffer, mut control) = (vec![0u8; 1500], false);
        let mut len = buffer.len();
        // SAFETY: the agent and `received` were filled by libnice, `reply` is room enough, and the
        // buffer is as long as `len` says; libnice writes no more and sets `len`.
        let result = unsafe {
            (self.nice.symbols.stun_usage_ice_conncheck_create_reply)(
                self.agent(),
                received.as_mut_ptr().cast(),
                reply.as_mut_ptr().cast(),
                buffer.as_mut_ptr(),
                &mut len,
                &address,
                size_of::<libc::sockaddr_in>() as libc::socklen_t,
                &mut control,
                1,
                ICE,
            )
        };
        buffer.truncate(len);
        (result == 0 && !buffer.is_empty()).then_some(buffer)
    }

    /// A check of libnice's making, signed with the password.
    pub fn check(
        &mut self,
        username: &str,
        controlling: bool,
        nominate: bool,
        priority: u32,
        tie_breaker: u64,
    ) -> Vec<u8> {
        let mut message: MessageRoom = [0; 64];
        let mut buffer = vec![0u8; 1500];
        // SAFETY: the agent is initialised, `message` and `buffer` are room enough with their lengths
        // given, user name and password are read within the call; the password is kept by the agent
        // as a pointer for validating the response and lives as long as `self`.
        let len = unsafe {
            (self.nice.symbols.stun_usage_ice_conncheck_create)(
                self.agent.as_mut_ptr().cast(),
                message.as_mut_ptr().cast(),
                buffer.as_mut_ptr(),
                buffer.len(),
                username.as_ptr(),
                username.len(),
                self.password.as_ptr(),
                self.password.len(),
                nominate,
                controlling,
                priority,
                tie_breaker,
                ptr::null(),
                ICE,
            )
        };
        buffer.truncate(len);
        buffer
    }

    fn validate(&mut self, room: &mut MessageRoom, message: &[u8]) -> bool {
        let password: Opaque = ptr::from_mut(&mut self.password).cast();
        // SAFETY: the agent is initialised, `room` is larger than a StunMessage, the octets are read
        // within the call, and the callback gets the password that outlives it.
        let status = unsafe {
            (self.nice.symbols.stun_agent_validate)(
                self.agent(),
                room.as_mut_ptr().cast(),
                message.as_ptr(),
                message.len(),
                Some(give_password),
                password,
            )
        };
        status == 0
    }

    fn agent(&mut self) -> Opaque {
        self.agent.as_mut_ptr().cast()
    }
}

unsafe extern "C" fn give_password(
    _: Opaque,
    _: Opaque,
    _: *mut u8,
    _: u16,
    password: *mut *mut u8,
    len: *mut usize,
    ours: Opaque,
) -> bool {
    // SAFETY: `ours` is the Vec that `validate` passed, alive and unused meanwhile; libnice gives two
    // places to write to and only reads what they then say.
    unsafe {
        let ours = &mut *ours.cast::<Vec<u8>>();
        *password = ours.as_mut_ptr();
        *len = ours.len();
    }
    true
}
