//! The sending direction: no index protects two packets.

use bifrons_libsrtp::Direction;

use super::context::{Generation, Keys, PACKET_LEN_MAX, RTCP_PACKETS_MAX, RTP_PACKETS_MAX};
use super::index::Refusal;
use super::packet::{RTCP_HEADER_LEN, RtpHeader, rtcp_ssrc};
use super::{Backend, ContextState, MasterKey, Profile, Rollover, Room, SrtpError};

/// SSRCs that one leg sends with: a few from the start, more with [`Room`]s.
pub const OUTBOUND_SSRCS_MAX: usize = 64;

/// Protects what one leg sends.
///
/// An index (SSRC, rollover counter, sequence number) is used once; a second packet with it is
/// refused, because with AES-GCM two packets under one index give the authentication key away and
/// in counter mode the XOR of the two payloads. What is sent again byte for byte is stored
/// ciphertext and does not come through here.
#[repr(C)]
pub struct Outbound {
    generation: Generation<OUTBOUND_SSRCS_MAX>,
    counters: OutboundCounters,
}

/// What an [`Outbound`] did, since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutboundCounters {
    /// SRTP packets protected.
    pub rtp_packets: u64,
    /// SRTCP packets protected.
    pub rtcp_packets: u64,
    /// Refused: the index was used before or is too old to know.
    pub index_used: u64,
    /// Refused for lack of an SSRC slot.
    pub ssrc_table_full: u64,
    /// Refused because the key is used up.
    pub key_exhausted: u64,
    /// Refused for any other reason.
    pub refused: u64,
}

impl Outbound {
    /// A context with a new key.
    pub fn new(backend: Backend, key: &MasterKey) -> Result<Self, SrtpError> {
        let generation = Generation::new(backend, Direction::Outbound, key)?;
        Ok(Self { generation, counters: OutboundCounters::default() })
    }

    /// Goes on where another process stopped, with the native back end.
    ///
    /// The state must be the one *after* its last packet: an older one uses indices twice. Where
    /// that is not sure, agree on a new key instead.
    pub fn resume(state: &ContextState) -> Result<Self, SrtpError> {
        Ok(Self { generation: Generation::resume(state)?, counters: OutboundCounters::default() })
    }

    /// Encrypts and authenticates the RTP packet `buf[..len]` in place and gives its new length.
    ///
    /// `buf` needs [`Profile::rtp_overhead`] bytes after `len`. After an error the packet must not
    /// be sent.
    #[inline]
    pub fn protect_rtp(&mut self, buf: &mut [u8], len: usize) -> Result<usize, SrtpError> {
        let result = self.rtp(buf, len);
        match result {
            Ok(_) => self.counters.rtp_packets += 1,
            Err(error) => self.counters.count(error),
        }
        result
    }

    /// Encrypts and authenticates the RTCP compound `buf[..len]` in place and gives its new
    /// length. `buf` needs [`Profile::rtcp_overhead`] bytes after `len`.
    pub fn protect_rtcp(&mut self, buf: &mut [u8], len: usize) -> Result<usize, SrtpError> {
        let result = self.rtcp(buf, len);
        match result {
            Ok(_) => self.counters.rtcp_packets += 1,
            Err(error) => self.counters.count(error),
        }
        result
    }

    /// Switches to a new key at once.
    pub fn rekey(&mut self, key: &MasterKey, rollover: Rollover) -> Result<(), SrtpError> {
        self.generation = self.generation.successor(Direction::Outbound, key, rollover)?;
        Ok(())
    }

    /// Takes places for more SSRCs.
    ///
    /// # Errors
    /// Gives the room back where it is of no use: there are places for [`OUTBOUND_SSRCS_MAX`].
    pub fn add_room(&mut self, room: Room) -> Result<(), Room> {
        self.generation.table.add_room(room)
    }

    /// Names the memory that the next packet needs, so that it can be asked for before.
    #[inline]
    pub fn hot_lines(&self, mut line: impl FnMut(*const u8)) {
        self.generation.hot_lines(&mut line);
        line((&raw const self.counters).cast());
    }

    /// The profile in use.
    pub fn profile(&self) -> Profile {
        self.generation.profile()
    }

    /// The back end in use.
    pub fn backend(&self) -> Backend {
        self.generation.backend()
    }

    /// What it did so far.
    pub fn counters(&self) -> OutboundCounters {
        self.counters
    }

    /// Key and indices, for [`resume`](Self::resume).
    pub fn state(&self) -> ContextState {
        self.generation.state()
    }

    #[inline]
    fn rtp(&mut self, buf: &mut [u8], len: usize) -> Result<usize, SrtpError> {
        let Generation { keys, table, .. } = &mut self.generation;
        let header = RtpHeader::parse(buf.get(..len).ok_or(SrtpError::NoTailroom)?)?;
        if table.rtp_packets >= RTP_PACKETS_MAX {
            return Err(SrtpError::KeyExhausted);
        }
        let stream = match table.get_mut(header.ssrc) {
            Some(stream) => stream,
            None => table.insert(header.ssrc)?,
        };
        let index = stream.rtp.estimate(header.sequence_number).ok_or(SrtpError::KeyExhausted)?;
        stream.rtp.check(index).map_err(|refusal| match refusal {
            Refusal::Used => SrtpError::IndexUsed,
            Refusal::TooOld => SrtpError::TooOld,
        })?;
        if len > PACKET_LEN_MAX - OVERHEAD_MAX {
            return Err(SrtpError::TooLong);
        }
        let new_len = match keys {
            Keys::Native(native) => native.protect_rtp(buf, len, &header, index)?,
            Keys::Libsrtp(session) => session.protect_rtp(buf, len)?,
        };
        stream.rtp.insert(index);
        table.rtp_packets += 1;
        Ok(new_len)
    }

    fn rtcp(&mut self, buf: &mut [u8], len: usize) -> Result<usize, SrtpError> {
        let Generation { keys, table, .. } = &mut self.generation;
        let packet = buf.get(..len).ok_or(SrtpError::NoTailroom)?;
        if len < RTCP_HEADER_LEN {
            return Err(SrtpError::Malformed);
        }
        let ssrc = rtcp_ssrc(packet)?;
        if len > PACKET_LEN_MAX - OVERHEAD_MAX {
            return Err(SrtpError::TooLong);
        }
        let rtcp_packets = table.rtcp_packets;
        let stream = match table.get_mut(ssrc) {
            Some(stream) => stream,
            None => table.insert(ssrc)?,
        };
        // The first index is 1, as libsrtp has it: RFC 3711 §3.4 would start with 0, and no
        // receiver minds.
        let index = stream.rtcp.highest.saturating_add(1);
        if rtcp_packets >= RTCP_PACKETS_MAX || index >= RTCP_PACKETS_MAX {
            return Err(SrtpError::KeyExhausted);
        }
        let new_len = match keys {
            Keys::Native(native) => native.protect_rtcp(buf, len, ssrc, index as u32)?,
            Keys::Libsrtp(session) => session.protect_rtcp(buf, len)?,
        };
        stream.rtcp.insert(index);
        table.rtcp_packets += 1;
        Ok(new_len)
    }
}

/// The longest tag and index of any profile.
const OVERHEAD_MAX: usize = 16 + 4;

impl OutboundCounters {
    #[cold]
    fn count(&mut self, error: SrtpError) {
        *match error {
            SrtpError::SsrcRoom => return,
            SrtpError::IndexUsed | SrtpError::TooOld => &mut self.index_used,
            SrtpError::SsrcTableFull => &mut self.ssrc_table_full,
            SrtpError::KeyExhausted => &mut self.key_exhausted,
            _ => &mut self.refused,
        } += 1;
    }
}

impl std::fmt::Debug for Outbound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbound")
            .field("profile", &self.profile())
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}
