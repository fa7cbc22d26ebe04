//! The few session descriptions that the generator writes and reads.

use std::net::SocketAddr;

use crate::client::{Client, Remote};
use crate::codec::Codec;
use crate::media::ssrc;

/// The offer of a WebRTC client with one audio m-line.
///
/// # Errors
/// OpenSSL fails.
pub fn offer(client: &Client, call: u32, address: SocketAddr, codec: Codec) -> Result<String, String> {
    let (ufrag, pwd) = client.credentials();
    let fingerprint = client.fingerprint()?;
    let (payload_type, rtpmap) = (codec.sending().payload_type, codec.rtpmap());
    let (ip, port, ssrc) = (address.ip(), address.port(), ssrc(call, 0));
    let candidates: String =
        client.candidates().iter().map(|candidate| format!("a=candidate:{candidate}\r\n")).collect();
    Ok(format!(
        "v=0\r\no=- {call} 1 IN IP4 {ip}\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\na=msid-semantic: WMS load\r\n\
         m=audio {port} UDP/TLS/RTP/SAVPF {payload_type}\r\nc=IN IP4 {ip}\r\na=mid:0\r\na=sendrecv\r\na=rtcp-mux\r\n\
         a=ice-ufrag:{ufrag}\r\na=ice-pwd:{pwd}\r\na=fingerprint:{fingerprint}\r\na=setup:actpass\r\n\
         a=rtpmap:{rtpmap}\r\na=msid:load audio\r\na=ssrc:{ssrc} cname:load\r\n\
         {candidates}a=end-of-candidates\r\n"
    ))
}

/// The description of a plain RTP end. RTCP goes to the port above, as everywhere.
pub fn plain(call: u32, address: SocketAddr, codec: Codec) -> String {
    let (payload_type, rtpmap) = (codec.sending().payload_type, codec.rtpmap());
    let (ip, port) = (address.ip(), address.port());
    format!(
        "v=0\r\no=- {call} 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP {payload_type}\r\na=rtpmap:{rtpmap}\r\na=sendrecv\r\n"
    )
}

/// The description of an end with SDES-SRTP; `crypto` is its whole `a=crypto` line.
pub fn secure(call: u32, address: SocketAddr, codec: Codec, crypto: &str) -> String {
    plain(call, address, codec).replace("RTP/AVP", "RTP/SAVP") + crypto
}

/// What the answer to an [`offer`] says.
///
/// # Errors
/// Names the line that is missing.
pub fn remote(sdp: &str) -> Result<Remote, String> {
    let value = |name: &str| {
        let value = sdp.lines().find_map(|line| line.trim_end().strip_prefix(name));
        value.map(str::to_owned).ok_or_else(|| format!("the answer has no {name}"))
    };
    let candidates = sdp.lines().filter(|line| line.starts_with("a=candidate:"));
    Ok(Remote {
        ufrag: value("a=ice-ufrag:")?,
        pwd: value("a=ice-pwd:")?,
        fingerprint: value("a=fingerprint:")?,
        active: value("a=setup:")? == "active",
        lite: value("a=ice-lite").is_ok(),
        candidates: candidates.map(|line| line.trim_end().to_owned()).collect(),
    })
}

/// Where a plain description wants its RTP.
///
/// # Errors
/// Names the line that is missing.
pub fn plain_address(sdp: &str) -> Result<SocketAddr, String> {
    let line = |name: &str| {
        let rest = sdp.lines().find_map(|line| line.trim_end().strip_prefix(name));
        rest.ok_or_else(|| format!("the description has no {name} line"))
    };
    let port = line("m=audio ")?.split(' ').next().and_then(|port| port.parse::<u16>().ok());
    let address = line("c=IN IP4 ")?.parse();
    match (port, address) {
        (Some(port), Ok(address)) if port > 0 => Ok(SocketAddr::new(address, port)),
        _ => Err("the description has no usable address".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_plain_description() {
        let address = "192.0.2.1:4000".parse().unwrap();
        assert_eq!(plain_address(&plain(1, address, Codec::Opus)), Ok(address));
        assert!(plain_address("v=0\r\nm=audio 0 RTP/AVP 0\r\nc=IN IP4 192.0.2.1\r\n").is_err());
        assert!(plain_address("v=0\r\n").unwrap_err().contains("m=audio"));
    }

    #[test]
    fn says_what_an_answer_lacks() {
        assert!(remote("v=0\r\na=ice-ufrag:abcd\r\n").unwrap_err().contains("a=ice-pwd"));
    }
}
