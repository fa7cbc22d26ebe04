//! Wire formats: STUN, RTP, RTCP, SDP, DTLS records, UDP in Ethernet frames; views and writers without I/O,
//! unsafe or allocation on the packet path.
#![forbid(unsafe_code)]

mod bytes;
pub mod demux;
pub mod frame;
pub mod rtcp;
pub mod rtp;
pub mod sdp;
pub mod stun;
