//! The SRTP contexts of a leg.

use bifrons_rtc::Time;
use bifrons_rtc::srtp::{Inbound, Outbound, PACKET_LEN_MAX, REKEY_OVERLAP, SrtpError};

/// The contexts of both directions. They are made on the handshake thread or the control side; a worker
/// allocates none.
pub(crate) struct Keys {
    pub inbound: Inbound,
    pub outbound: Outbound,
    /// The contexts before, whose incoming packets are understood for a while.
    previous: Option<(Box<Keys>, Time)>,
}

impl Keys {
    pub(crate) fn new(inbound: Inbound, outbound: Outbound) -> Self {
        Self { inbound, outbound, previous: None }
    }

    /// Names the memory that the next incoming packet needs.
    pub(crate) fn ask_inbound(&self, line: impl Fn(*const u8)) {
        self.inbound.hot_lines(&line);
        line((&raw const self.previous).cast());
    }

    /// Puts new contexts in the place of `current`. Outgoing packets have the new key at once, incoming
    /// ones may have the old one for [`REKEY_OVERLAP`]. Gives what is no longer used.
    pub(crate) fn succeed(current: &mut Box<Keys>, new: Box<Keys>, now: Time) -> Option<Box<Keys>> {
        let mut old = std::mem::replace(current, new);
        let older = old.previous.take().map(|(older, _)| older);
        current.previous = Some((old, now + REKEY_OVERLAP));
        older
    }

    /// Authenticates and decrypts in place, newest key first. Gives the new length.
    pub(crate) fn unprotect(&mut self, now: Time, packet: &mut [u8], rtcp: bool) -> Result<usize, SrtpError> {
        match &mut self.previous {
            Some((previous, until)) if now < *until => {
                // A try with the wrong key leaves nothing usable behind.
                let mut copy = [0u8; PACKET_LEN_MAX];
                let copy = copy.get_mut(..packet.len()).ok_or(SrtpError::TooLong)?;
                copy.copy_from_slice(packet);
                let error = match unprotect(&mut self.inbound, now, packet, rtcp) {
                    Ok(len) => return Ok(len),
                    Err(error) => error,
                };
                packet.copy_from_slice(copy);
                unprotect(&mut previous.inbound, now, packet, rtcp).map_err(|_| error)
            }
            _ => unprotect(&mut self.inbound, now, packet, rtcp),
        }
    }

    /// When [`Keys::expire`] has something to do.
    pub(crate) fn next_timeout(&self) -> Option<Time> {
        self.previous.as_ref().map(|(_, until)| *until)
    }

    /// The old contexts, once their time is over.
    pub(crate) fn expire(&mut self, now: Time) -> Option<Box<Keys>> {
        self.previous.take_if(|(_, until)| *until <= now).map(|(keys, _)| keys)
    }
}

fn unprotect(inbound: &mut Inbound, now: Time, packet: &mut [u8], rtcp: bool) -> Result<usize, SrtpError> {
    if rtcp { inbound.unprotect_rtcp(now, packet) } else { inbound.unprotect_rtp(now, packet) }
}
