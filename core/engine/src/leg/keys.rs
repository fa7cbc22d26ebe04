//! The SRTP contexts of a leg.

use super::Rooms;
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

    /// Encrypts and authenticates the RTP packet `buf[..len]` in place. Gives the new length.
    #[inline]
    pub(crate) fn protect_rtp(
        &mut self,
        rooms: &mut Rooms,
        buf: &mut [u8],
        len: usize,
    ) -> Result<usize, SrtpError> {
        match self.outbound.protect_rtp(buf, len) {
            Err(SrtpError::SsrcRoom) if rooms.give(|room| self.outbound.add_room(room)) => {
                self.outbound.protect_rtp(buf, len)
            }
            result => result,
        }
    }

    /// Encrypts and authenticates the RTCP compound `buf[..len]` in place. Gives the new length.
    pub(crate) fn protect_rtcp(
        &mut self,
        rooms: &mut Rooms,
        buf: &mut [u8],
        len: usize,
    ) -> Result<usize, SrtpError> {
        match self.outbound.protect_rtcp(buf, len) {
            Err(SrtpError::SsrcRoom) if rooms.give(|room| self.outbound.add_room(room)) => {
                self.outbound.protect_rtcp(buf, len)
            }
            result => result,
        }
    }

    /// Authenticates and decrypts in place, newest key first. Gives the new length.
    pub(crate) fn unprotect(
        &mut self,
        rooms: &mut Rooms,
        now: Time,
        packet: &mut [u8],
        rtcp: bool,
    ) -> Result<usize, SrtpError> {
        match &mut self.previous {
            Some((previous, until)) if now < *until => {
                // A try with the wrong key leaves nothing usable behind.
                let mut copy = [0u8; PACKET_LEN_MAX];
                let copy = copy.get_mut(..packet.len()).ok_or(SrtpError::TooLong)?;
                copy.copy_from_slice(packet);
                let error = match unprotect(&mut self.inbound, rooms, now, packet, rtcp) {
                    Ok(len) => return Ok(len),
                    Err(error) => error,
                };
                packet.copy_from_slice(copy);
                unprotect(&mut previous.inbound, rooms, now, packet, rtcp).map_err(|_| error)
            }
            _ => unprotect(&mut self.inbound, rooms, now, packet, rtcp),
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

#[inline]
fn unprotect(
    inbound: &mut Inbound,
    rooms: &mut Rooms,
    now: Time,
    packet: &mut [u8],
    rtcp: bool,
) -> Result<usize, SrtpError> {
    let mut once = |inbound: &mut Inbound| match rtcp {
        true => inbound.unprotect_rtcp(now, packet),
        false => inbound.unprotect_rtp(now, packet),
    };
    match once(inbound) {
        Err(SrtpError::SsrcRoom) if rooms.give(|room| inbound.add_room(room)) => once(inbound),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use bifrons_rtc::srtp::{Backend, MasterKey, OUTBOUND_SSRCS_MAX, Profile};

    use super::*;

    fn keys(key: &MasterKey) -> Box<Keys> {
        let inbound = Inbound::new(Backend::Native, key).unwrap();
        Box::new(Keys::new(inbound, Outbound::new(Backend::Native, key).unwrap()))
    }

    fn sent(keys: &mut Keys, rooms: &mut Rooms, ssrc: u32) -> Result<Vec<u8>, SrtpError> {
        let mut buf = [&[0x80, 0, 0, 1, 0, 0, 0, 1][..], &ssrc.to_be_bytes(), &[7; 52]].concat();
        let len = keys.protect_rtp(rooms, &mut buf, 64 - 20)?;
        buf.truncate(len);
        Ok(buf)
    }

    /// Each SSRC up to the limit is sent and heard, also those that are first heard under the key before.
    #[test]
    fn rooms_are_taken_as_they_are_needed() {
        let (old, new) =
            (MasterKey::generate(Profile::AeadAes128Gcm), MasterKey::generate(Profile::AeadAes128Gcm));
        let (old, new) = (old.unwrap(), new.unwrap());
        let (mut rooms, now) = (Rooms::new(), Time::from_millis(1));
        let mut peer = keys(&old);
        let mut ours = keys(&old);
        assert!(Keys::succeed(&mut ours, keys(&new), now).is_none());
        let max = OUTBOUND_SSRCS_MAX as u32;
        for ssrc in 0..max {
            let mut packet = sent(&mut peer, &mut rooms, ssrc).unwrap();
            let heard = ours.unprotect(&mut rooms, now, &mut packet, false);
            // The error is that of the newest key.
            assert_eq!(heard, if ssrc < 32 { Ok(44) } else { Err(SrtpError::Authentication) }, "{ssrc}");
        }
        assert_eq!(sent(&mut peer, &mut rooms, max), Err(SrtpError::SsrcTableFull));
        assert_eq!(peer.outbound.counters().ssrc_table_full, 1);
    }

    #[test]
    fn an_empty_store_is_told() {
        let key = MasterKey::generate(Profile::AeadAes128Gcm).unwrap();
        let (mut rooms, mut keys) = (Rooms::new(), keys(&key));
        while rooms.give(|_| Ok(())) {}
        let results: Vec<_> = (0..5).map(|ssrc| sent(&mut keys, &mut rooms, ssrc).map(drop)).collect();
        assert_eq!(results, [Ok(()), Ok(()), Ok(()), Ok(()), Err(SrtpError::SsrcRoom)]);
        rooms.fill(Rooms::load());
        assert!(sent(&mut keys, &mut rooms, 4).is_ok());
    }
}
