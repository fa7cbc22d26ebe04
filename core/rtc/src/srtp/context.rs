//! What both directions share: the choice of back end, and one generation of keys.

use super::key::MasterKey;
use super::native;
use super::table::{Room, Stream, Table};
use super::{Profile, RtcpWindow, RtpWindow, SrtpError};

/// Which library does the work. The bytes are the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backend {
    /// Our framing over aws-lc (GCM) and RustCrypto (counter mode, HMAC-SHA1).
    #[default]
    Native,
    /// libsrtp with OpenSSL. It allocates at the first packet of an SSRC.
    Libsrtp,
}

/// The longest packet that is protected or unprotected, tag included, in bytes.
pub const PACKET_LEN_MAX: usize = 2048;

/// SRTP packets under one master key (RFC 3711 §9.2, RFC 7714 §13).
pub(super) const RTP_PACKETS_MAX: u64 = 1 << 48;
/// SRTCP packets under one master key; also the number of SRTCP indices.
pub(super) const RTCP_PACKETS_MAX: u64 = 1 << 31;

/// The plain state of a context, from which another process can go on.
///
/// Holds the master key: seal it wherever it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContextState {
    /// The master key in use.
    pub key: MasterKey,
    /// SRTP packets under this key so far.
    pub rtp_packets: u64,
    /// SRTCP packets under this key so far.
    pub rtcp_packets: u64,
    /// Every SSRC with its indices.
    pub streams: Vec<StreamState>,
}

/// The indices of one SSRC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamState {
    /// The synchronization source.
    pub ssrc: u32,
    /// SRTP indices: rollover counter and sequence number.
    pub rtp: RtpWindow,
    /// SRTCP indices.
    pub rtcp: RtcpWindow,
}

/// Whether a new key starts with fresh indices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rollover {
    /// Both ends start over: a new DTLS association, a new SDES key.
    Reset,
    /// The rollover counters go on (RFC 3711 §3.3.1). A libsrtp context becomes a native one,
    /// because libsrtp cannot be told where its SRTCP index stands.
    Keep,
}

/// One master key with the indices used under it, for at most `N` SSRCs. What each packet needs comes first.
#[repr(C)]
pub(super) struct Generation<const N: usize> {
    pub table: Table<N>,
    pub keys: Keys,
    master: MasterKey,
}

#[expect(clippy::large_enum_variant, reason = "no pointer to follow on the packet path")]
pub(super) enum Keys {
    Native(native::Keys),
    Libsrtp(bifrons_libsrtp::Session),
}

impl<const N: usize> Generation<N> {
    pub fn new(
        backend: Backend,
        direction: bifrons_libsrtp::Direction,
        master: &MasterKey,
    ) -> Result<Self, SrtpError> {
        let keys = match backend {
            Backend::Native => Keys::Native(native::Keys::new(master)?),
            Backend::Libsrtp => Keys::Libsrtp(bifrons_libsrtp::Session::new(
                libsrtp_profile(master.profile()),
                direction,
                master.expose(),
                super::index::WINDOW_LEN as u16,
            )?),
        };
        Ok(Self { table: Table::new(), keys, master: master.clone() })
    }

    /// What the next packet needs, where one SSRC is in use. Nothing is read for it. What libsrtp keeps behind a
    /// pointer cannot be named.
    #[inline]
    pub fn hot_lines(&self, mut line: impl FnMut(*const u8)) {
        native::Keys::hot_lines((&raw const self.keys).cast(), &mut line);
        self.table.hot_lines(&mut line);
    }

    /// Goes on from stored indices; always native ([`Rollover::Keep`] says why).
    pub fn resume(state: &ContextState) -> Result<Self, SrtpError> {
        let mut generation = Self::new(Backend::Native, bifrons_libsrtp::Direction::Outbound, &state.key)?;
        let table = &mut generation.table;
        for stream in &state.streams {
            if table.has_place() == Err(SrtpError::SsrcRoom) {
                table.add_room(Room::new()).map_err(|_| SrtpError::SsrcTableFull)?;
            }
            *table.insert(stream.ssrc)? = Stream { rtp: stream.rtp, rtcp: stream.rtcp };
        }
        (table.rtp_packets, table.rtcp_packets) = (state.rtp_packets, state.rtcp_packets);
        Ok(generation)
    }

    /// The generation that follows this one.
    pub fn successor(
        &self,
        direction: bifrons_libsrtp::Direction,
        master: &MasterKey,
        rollover: Rollover,
    ) -> Result<Self, SrtpError> {
        match rollover {
            Rollover::Reset => Self::new(self.backend(), direction, master),
            Rollover::Keep => {
                let mut state = self.state();
                state.key = master.clone();
                (state.rtp_packets, state.rtcp_packets) = (0, 0);
                for stream in &mut state.streams {
                    let highest = stream.rtp.highest;
                    stream.rtp = RtpWindow { highest, ..Default::default() };
                    stream.rtcp = RtcpWindow::default();
                }
                Self::resume(&state)
            }
        }
    }

    pub fn backend(&self) -> Backend {
        match self.keys {
            Keys::Native(_) => Backend::Native,
            Keys::Libsrtp(_) => Backend::Libsrtp,
        }
    }

    pub fn profile(&self) -> Profile {
        self.master.profile()
    }

    pub fn state(&self) -> ContextState {
        ContextState {
            key: self.master.clone(),
            rtp_packets: self.table.rtp_packets,
            rtcp_packets: self.table.rtcp_packets,
            streams: self
                .table
                .iter()
                .map(|(ssrc, s)| StreamState { ssrc, rtp: s.rtp, rtcp: s.rtcp })
                .collect(),
        }
    }
}

pub(super) fn libsrtp_profile(profile: Profile) -> bifrons_libsrtp::Profile {
    match profile {
        Profile::AeadAes128Gcm => bifrons_libsrtp::Profile::AeadAes128Gcm,
        Profile::AeadAes256Gcm => bifrons_libsrtp::Profile::AeadAes256Gcm,
        Profile::AesCm128HmacSha1_80 => bifrons_libsrtp::Profile::AesCm128HmacSha1_80,
        Profile::AesCm128HmacSha1_32 => bifrons_libsrtp::Profile::AesCm128HmacSha1_32,
    }
}
