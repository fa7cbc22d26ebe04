//! A phone and a registrar for the SIP scenarios: answers every INVITE at once, challenges a REGISTER
//! without credentials and accepts one with any, over UDP. No dialogs, no timers: the gateway's own
//! retransmissions are answered like the first request.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::UdpSocket;

use crate::codec::Codec;
use crate::plain::Ends;
use crate::sdp;

/// Where the gateway receives each call's RTP, learned from its INVITE.
pub type Media = Arc<Mutex<HashMap<u32, SocketAddr>>>;

/// Starts the phone at an address; call `n` is `sip:load<n>@…`. Its RTP is at `ends`. Gives its own address too.
///
/// # Errors
/// The address is taken.
pub async fn start(ip: std::net::IpAddr, ends: Ends, codec: Codec) -> Result<(SocketAddr, Media), String> {
    let socket = UdpSocket::bind(SocketAddr::new(ip, 0)).await.map_err(|error| error.to_string())?;
    let address = socket.local_addr().map_err(|error| error.to_string())?;
    let media = Media::default();
    let learned = media.clone();
    tokio::spawn(async move {
        let mut buffer = vec![0; 65_536];
        loop {
            let Ok((len, source)) = socket.recv_from(&mut buffer).await else { continue };
            let Ok(text) = std::str::from_utf8(&buffer[..len]) else { continue };
            if let Some(response) = answer(text, address, &ends, codec, &learned) {
                // A lost response is asked for again.
                let _ = socket.send_to(response.as_bytes(), source).await;
            }
        }
    });
    Ok((address, media))
}

fn answer(text: &str, own: SocketAddr, ends: &Ends, codec: Codec, media: &Media) -> Option<String> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.split("\r\n");
    let mut first = lines.next()?.split(' ');
    let (method, uri) = (first.next()?, first.next()?);
    if method == "ACK" || method == "SIP/2.0" {
        return None;
    }
    let mut copied = String::new();
    let mut contact = String::new();
    let (mut authorized, mut expires) = (false, "3600");
    for line in lines {
        let (name, value) = line.split_once(':')?;
        let (name, value) = (name.trim(), value.trim());
        let is = |long: &str, short: &str| name.eq_ignore_ascii_case(long) || name == short;
        if is("To", "t") && !value.contains("tag=") {
            copied += &format!("To: {value};tag=load\r\n");
        } else if is("Via", "v")
            || is("From", "f")
            || is("To", "t")
            || is("Call-ID", "i")
            || is("CSeq", "CSeq")
            || is("Record-Route", "Record-Route")
        {
            copied += &format!("{name}: {value}\r\n");
        }
        authorized |=
            is("Authorization", "Authorization") || is("Proxy-Authorization", "Proxy-Authorization");
        if is("Contact", "m") {
            contact = format!("Contact: {value}\r\n");
        } else if is("Expires", "Expires") {
            expires = value;
        }
    }
    if method == "REGISTER" {
        return Some(match authorized {
            true => {
                format!("SIP/2.0 200 OK\r\n{copied}{contact}Expires: {expires}\r\nContent-Length: 0\r\n\r\n")
            }
            false => format!(
                "SIP/2.0 401 Unauthorized\r\n{copied}WWW-Authenticate: Digest realm=\"load\", nonce=\"1\", \
                 algorithm=MD5, qop=\"auth\"\r\nContent-Length: 0\r\n\r\n"
            ),
        });
    }
    let mut sdp = String::new();
    if method == "INVITE" {
        let call: u32 = uri.strip_prefix("sip:load")?.split(['@', ';']).next()?.parse().ok()?;
        let gateway = sdp::plain_address(body).ok()?;
        media.lock().unwrap_or_else(PoisonError::into_inner).insert(call, gateway);
        sdp = sdp::plain(call, ends.plain(call, 0).1, codec);
        copied += &format!("Contact: <sip:load{call}@{own}>\r\nContent-Type: application/sdp\r\n");
    }
    Some(format!("SIP/2.0 200 OK\r\n{copied}Content-Length: {}\r\n\r\n{sdp}", sdp.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_an_invite_with_its_own_media() {
        let own = "127.0.0.1:5070".parse().unwrap();
        let ip = "127.0.0.1".parse().unwrap();
        let (ends, _sockets) = crate::plain::bind(ip, ip, 1, 2).unwrap();
        let media = Media::default();
        let body = sdp::plain(7, "127.0.0.1:20000".parse().unwrap(), Codec::Pcmu);
        let invite = format!(
            "INVITE sip:load7@127.0.0.1:5070 SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bKx\r\n\
             From: <sip:a@b>;tag=1\r\nTo: <sip:load7@127.0.0.1>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n\r\n{body}"
        );
        let response = answer(&invite, own, &ends, Codec::Pcmu, &media).unwrap();
        assert!(response.starts_with("SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP a;branch=z9hG4bKx\r\n"));
        assert!(response.contains("To: <sip:load7@127.0.0.1>;tag=load\r\n"));
        assert!(response.contains(&format!("m=audio {} ", ends.plain(7, 0).1.port())));
        assert_eq!(media.lock().unwrap().get(&7), Some(&"127.0.0.1:20000".parse().unwrap()));
        let register = invite.replace("INVITE", "REGISTER").replace("\r\nCSeq", "\r\nExpires: 60\r\nCSeq");
        let response = answer(&register, own, &ends, Codec::Pcmu, &media).unwrap();
        assert!(response.starts_with("SIP/2.0 401 ") && response.contains("\r\nWWW-Authenticate: Digest "));
        let register = register.replace("\r\nCSeq", "\r\nm: <sip:c@d>\r\nAuthorization: Digest x\r\nCSeq");
        let response = answer(&register, own, &ends, Codec::Pcmu, &media).unwrap();
        assert!(response.starts_with("SIP/2.0 200 ") && response.contains("\r\nExpires: 60\r\n"));
        assert!(response.contains("\r\nContact: <sip:c@d>\r\n"));
        assert_eq!(answer("ACK sip:load7@x SIP/2.0\r\n\r\n", own, &ends, Codec::Pcmu, &media), None);
        assert_eq!(answer("garbage", own, &ends, Codec::Pcmu, &media), None);
    }
}
