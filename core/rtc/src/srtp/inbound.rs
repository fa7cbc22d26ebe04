//! The receiving direction: authenticate, then believe.

use std::time::Duration;

use bifrons_libsrtp::Direction;

use super::context::{Generation, Keys, PACKET_LEN_MAX, RTCP_PACKETS_MAX, RTP_PACKETS_MAX};
use super::index::Refusal;
use super::packet::{RtpHeader, rtcp_ssrc};
use super::{Backend, ContextState, MasterKey, Profile, Rollover, Room, SrtpError};
use crate::Time;

/// SSRCs that one leg receives from: a few from the start, more with [`Room`]s. One gets its place only after a
/// packet of it authenticated.
pub const INBOUND_SSRCS_MAX: usize = 32;

/// How long after a re-key the old key is still understood.
pub const REKEY_OVERLAP: Duration = Duration::from_secs(3);

/// Unprotects what one leg receives.
#[repr(C)]
pub struct Inbound {
    current: Generation<INBOUND_SSRCS_MAX>,
    /// The key before the last re-key, until its time is over.
    previous: Option<Box<Previous>>,
    counters: InboundCounters,
}

struct Previous {
    generation: Generation<INBOUND_SSRCS_MAX>,
    until: Time,
}

/// What an [`Inbound`] saw, since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InboundCounters {
    /// SRTP packets accepted.
    pub rtp_packets: u64,
    /// SRTCP packets accepted.
    pub rtcp_packets: u64,
    /// Of all accepted: under the key before the last re-key.
    pub previous_key: u64,
    /// Refused: wrong tag.
    pub authentication: u64,
    /// Refused: seen before or older than the window.
    pub replayed: u64,
    /// Refused unread: a new SSRC, and no place for it.
    pub ssrc_table_full: u64,
    /// Refused because the key is used up.
    pub key_exhausted: u64,
    /// Refused for any other reason.
    pub malformed: u64,
}

#[derive(Clone, Copy)]
enum Kind {
    Rtp,
    Rtcp,
}

impl Inbound {
    /// A context with a new key.
    pub fn new(backend: Backend, key: &MasterKey) -> Result<Self, SrtpError> {
        let current = Generation::new(backend, Direction::Inbound, key)?;
        Ok(Self { current, previous: None, counters: InboundCounters::default() })
    }

    /// Goes on where another process stopped, with the native back end.
    pub fn resume(state: &ContextState) -> Result<Self, SrtpError> {
        Ok(Self { current: Generation::resume(state)?, previous: None, counters: InboundCounters::default() })
    }

    /// Authenticates and decrypts the SRTP packet in place and gives the length of the RTP packet.
    ///
    /// After an error the bytes are not to be used, not even as the packet that arrived.
    #[inline]
    pub fn unprotect_rtp(&mut self, now: Time, packet: &mut [u8]) -> Result<usize, SrtpError> {
        self.unprotect(now, packet, Kind::Rtp)
    }

    /// Authenticates and decrypts the SRTCP packet in place and gives the length of the compound.
    pub fn unprotect_rtcp(&mut self, now: Time, packet: &mut [u8]) -> Result<usize, SrtpError> {
        self.unprotect(now, packet, Kind::Rtcp)
    }

    /// Takes a new key. The one in use is understood for [`REKEY_OVERLAP`] more, the one before it
    /// no longer.
    pub fn rekey(&mut self, now: Time, key: &MasterKey, rollover: Rollover) -> Result<(), SrtpError> {
        let next = self.current.successor(Direction::Inbound, key, rollover)?;
        let generation = std::mem::replace(&mut self.current, next);
        self.previous = Some(Box::new(Previous { generation, until: now + REKEY_OVERLAP }));
        Ok(())
    }

    /// Takes places for more SSRCs, under the key whose places are used up.
    ///
    /// # Errors
    /// Gives the room back where it is of no use: there are places for [`INBOUND_SSRCS_MAX`].
    pub fn add_room(&mut self, room: Room) -> Result<(), Room> {
        match &mut self.previous {
            Some(previous) if self.current.table.has_place() != Err(SrtpError::SsrcRoom) => {
                previous.generation.table.add_room(room)
            }
            _ => self.current.table.add_room(room),
        }
    }

    /// When [`on_timeout`](Self::on_timeout) has something to do.
    pub fn next_timeout(&self) -> Option<Time> {
        self.previous.as_ref().map(|p| p.until)
    }

    /// Wipes the previous key if its time is over.
    pub fn on_timeout(&mut self, now: Time) {
        self.previous.take_if(|p| p.until <= now);
    }

    /// Names the memory that the next packet needs, so that it can be asked for before.
    #[inline]
    pub fn hot_lines(&self, mut line: impl FnMut(*const u8)) {
        self.current.hot_lines(&mut line);
        line((&raw const self.previous).cast());
        line((&raw const self.counters).cast());
    }

    /// The profile in use.
    pub fn profile(&self) -> Profile {
        self.current.profile()
    }

    /// The back end in use.
    pub fn backend(&self) -> Backend {
        self.current.backend()
    }

    /// What it saw so far.
    pub fn counters(&self) -> InboundCounters {
        self.counters
    }

    /// Key and indices, for [`resume`](Self::resume). The previous key is not part of it.
    pub fn state(&self) -> ContextState {
        self.current.state()
    }

    #[inline]
    fn unprotect(&mut self, now: Time, packet: &mut [u8], kind: Kind) -> Result<usize, SrtpError> {
        let result = match &mut self.previous {
            None => self.current.unprotect(packet, kind),
            Some(previous) if previous.until <= now => self.current.unprotect(packet, kind),
            Some(previous) => match try_both(&mut self.current, &mut previous.generation, packet, kind) {
                Ok((len, is_previous)) => {
                    self.counters.previous_key += u64::from(is_previous);
                    Ok(len)
                }
                Err(error) => Err(error),
            },
        };
        match (&result, kind) {
            (Ok(_), Kind::Rtp) => self.counters.rtp_packets += 1,
            (Ok(_), Kind::Rtcp) => self.counters.rtcp_packets += 1,
            (Err(error), _) => self.counters.count(*error),
        }
        result
    }
}

/// Newest key first, then the previous one on what arrived: a failed try may have written there.
#[inline(never)]
fn try_both(
    current: &mut Generation<INBOUND_SSRCS_MAX>,
    previous: &mut Generation<INBOUND_SSRCS_MAX>,
    packet: &mut [u8],
    kind: Kind,
) -> Result<(usize, bool), SrtpError> {
    let mut arrived = [0u8; PACKET_LEN_MAX];
    let arrived = arrived.get_mut(..packet.len()).ok_or(SrtpError::TooLong)?;
    arrived.copy_from_slice(packet);
    let error = match current.unprotect(packet, kind) {
        Ok(len) => return Ok((len, false)),
        // It can be tried again.
        Err(SrtpError::SsrcRoom) => return Err(SrtpError::SsrcRoom),
        Err(error) => error,
    };
    packet.copy_from_slice(arrived);
    match previous.unprotect(packet, kind) {
        Ok(len) => Ok((len, true)),
        Err(SrtpError::SsrcRoom) => Err(SrtpError::SsrcRoom),
        Err(_) => Err(error),
    }
}

impl Generation<INBOUND_SSRCS_MAX> {
    #[inline]
    fn unprotect(&mut self, packet: &mut [u8], kind: Kind) -> Result<usize, SrtpError> {
        if packet.len() > PACKET_LEN_MAX {
            return Err(SrtpError::TooLong);
        }
        match kind {
            Kind::Rtp => self.unprotect_rtp(packet),
            Kind::Rtcp => self.unprotect_rtcp(packet),
        }
    }

    #[inline]
    fn unprotect_rtp(&mut self, packet: &mut [u8]) -> Result<usize, SrtpError> {
        let header = RtpHeader::parse(packet)?;
        if self.table.rtp_packets >= RTP_PACKETS_MAX {
            return Err(SrtpError::KeyExhausted);
        }
        let index = match self.table.get_mut(header.ssrc) {
            Some(stream) => {
                let index = stream.rtp.estimate(header.sequence_number).ok_or(SrtpError::KeyExhausted)?;
                stream.rtp.check(index).map_err(replay)?;
                index
            }
            None => {
                self.table.has_place()?;
                header.sequence_number.into()
            }
        };
        let len = match &mut self.keys {
            Keys::Native(native) => native.unprotect_rtp(packet, &header, index)?,
            Keys::Libsrtp(session) => session.unprotect_rtp(packet)?,
        };
        // Authentic: now the SSRC may have its place.
        let stream = match self.table.get_mut(header.ssrc) {
            Some(stream) => stream,
            None => self.table.insert(header.ssrc)?,
        };
        stream.rtp.insert(index);
        self.table.rtp_packets += 1;
        Ok(len)
    }

    fn unprotect_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, SrtpError> {
        let ssrc = rtcp_ssrc(packet)?;
        if self.table.rtcp_packets >= RTCP_PACKETS_MAX {
            return Err(SrtpError::KeyExhausted);
        }
        let index = super::native::rtcp_index(self.profile(), packet)?;
        match self.table.get_mut(ssrc) {
            Some(stream) => stream.rtcp.check(index.into()).map_err(replay)?,
            None => self.table.has_place()?,
        }
        let len = match &mut self.keys {
            Keys::Native(native) => native.unprotect_rtcp(packet, ssrc, index)?,
            Keys::Libsrtp(session) => session.unprotect_rtcp(packet)?,
        };
        let stream = match self.table.get_mut(ssrc) {
            Some(stream) => stream,
            None => self.table.insert(ssrc)?,
        };
        stream.rtcp.insert(index.into());
        self.table.rtcp_packets += 1;
        Ok(len)
    }
}

fn replay(refusal: Refusal) -> SrtpError {
    match refusal {
        Refusal::Used => SrtpError::Replayed,
        Refusal::TooOld => SrtpError::TooOld,
    }
}

impl InboundCounters {
    #[cold]
    fn count(&mut self, error: SrtpError) {
        *match error {
            SrtpError::SsrcRoom => return,
            SrtpError::Authentication => &mut self.authentication,
            SrtpError::Replayed | SrtpError::TooOld => &mut self.replayed,
            SrtpError::SsrcTableFull => &mut self.ssrc_table_full,
            SrtpError::KeyExhausted => &mut self.key_exhausted,
            _ => &mut self.malformed,
        } += 1;
    }
}

impl std::fmt::Debug for Inbound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inbound")
            .field("profile", &self.profile())
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}
