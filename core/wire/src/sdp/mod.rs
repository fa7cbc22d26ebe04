//! SDP (RFC 8866) for both faces: JSEP (RFC 9429) towards browsers, telephony towards SIP.
//!
//! [`Sdp`] keeps every line as it came, in order, known or not, so that what is not understood passes
//! through. Meaning is read where it is wanted: each attribute with a structure has a type that parses and
//! writes it, and [`Section`] finds it by that type:
//!
//! ```
//! use bifrons_wire::sdp::{Rtpmap, Sdp};
//! let sdp = Sdp::parse("v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n\
//!     m=audio 4000 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\na=vendor:thing\r\n")?;
//! let codec = sdp.media[0].section.get::<Rtpmap>().unwrap()?;
//! assert_eq!((codec.encoding.as_str(), codec.clock_rate), ("PCMA", 8000));
//! assert!(sdp.to_string().ends_with("a=vendor:thing\r\n"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The parser is as lenient as telephony needs (bare LF, absent `s=` or `t=`, any media type and protocol,
//! empty values); rules that a face adds are that face's. It runs on the control side and may allocate, in
//! proportion to its input, which the limits below bound.

mod address;
mod attribute;
mod candidate;
mod codec;
mod crypto;
mod document;
mod error;
mod media;
mod section;
mod source;
mod transport;

pub use address::{Bandwidth, Connection, Origin};
pub use attribute::{Attribute, AttributeError};
pub use candidate::Candidate;
pub use codec::{Extmap, Fmtp, RtcpFb, Rtpmap};
pub use crypto::{Crypto, CryptoKey, Mki, Suite};
pub use document::Sdp;
pub use error::{SdpError, SdpErrorKind};
pub use media::{Media, MediaLine};
pub use section::{Direction, Line, Section};
pub use source::{Group, Msid, Rid, RidDirection, Simulcast, SimulcastRid, SimulcastStream, Ssrc, SsrcGroup};
pub use transport::{Fingerprint, Rtcp, Setup};

/// Longest SDP, bytes.
pub const SDP_LEN_MAX: usize = 64 * 1024;
/// Most lines of an SDP.
pub const LINES_MAX: usize = 4096;
/// Longest line, bytes.
pub const LINE_LEN_MAX: usize = 8192;
/// Most m-lines of an SDP.
pub const MEDIA_MAX: usize = 64;
/// Most formats of an m-line: every payload type there is.
pub const FORMATS_MAX: usize = 128;
/// Most entries of a list within one attribute (SSRCs of a group, keys, simulcast streams).
pub const ATTRIBUTE_LIST_MAX: usize = 64;
