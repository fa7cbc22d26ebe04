//! Debian's `openssl` command as a peer over loopback: another OpenSSL, real time, and the
//! exporter's output in its own words.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use super::*;
use crate::Time;
use crate::srtp::{MasterKey, Profile};

const PATIENCE: Duration = Duration::from_secs(20);

/// A running `openssl`, its certificate, and what it prints.
struct Peer {
    child: Child,
    certificate: Certificate,
    lines: Receiver<String>,
    dir: PathBuf,
}

impl Peer {
    /// None where there is no such command.
    fn start(args: &[&str], keys_len: &str) -> Option<Self> {
        let Ok(version) = Command::new("openssl").arg("version").output() else {
            println!("skipped: no openssl command");
            return None;
        };
        println!("peer: {}", String::from_utf8_lossy(&version.stdout));
        let dir = std::env::temp_dir().join(format!("bifrons-{}-{}", args[0], std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let certificate = Certificate::generate().unwrap();
        let (cert, key) = certificate.to_pem().unwrap();
        std::fs::write(dir.join("cert.pem"), cert).unwrap();
        std::fs::write(dir.join("key.pem"), key).unwrap();
        let mut child = Command::new("openssl")
            .args(args)
            .args(["-dtls1_2", "-cert", "cert.pem", "-key", "key.pem"])
            .args(["-use_srtp", "SRTP_AES128_CM_SHA1_80:SRTP_AEAD_AES_128_GCM"])
            .args(["-keymatexport", "EXTRACTOR-dtls_srtp", "-keymatexportlen", keys_len])
            .current_dir(&dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            stdout.lines().map_while(Result::ok).all(|line| sender.send(line).is_ok())
        });
        Some(Self { child, certificate, lines, dir })
    }

    /// The rest of the first line that starts so.
    fn line(&self, start: &str) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left).expect("its output");
            if let Some(rest) = line.trim().strip_prefix(start) {
                return rest.to_owned();
            }
        }
    }

    fn fingerprint(&self) -> Vec<Fingerprint> {
        vec![self.certificate.fingerprint(Hash::Sha256).unwrap()]
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Runs a session over a socket until it has an event.
fn run(
    socket: &UdpSocket,
    mut peer: Option<SocketAddr>,
    role: Role,
    remote: &[Fingerprint],
) -> (Session, Event) {
    socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let start = Instant::now();
    let now = || Time::ZERO + start.elapsed();
    let context = DtlsContext::new(&Certificate::generate().unwrap(), DtlsConfig::default()).unwrap();
    let mut session = Session::new(&context, role, now(), remote).unwrap();
    let mut buf = [0; 2048];
    loop {
        session.on_timeout(now());
        while let Some(datagram) = session.poll_transmit() {
            socket.send_to(&datagram, peer.expect("an address")).unwrap();
        }
        if let Some(event) = session.poll_event() {
            return (session, event);
        }
        if let Ok((len, from)) = socket.recv_from(&mut buf) {
            peer = Some(from);
            session.handle_datagram(now(), &buf[..len]);
        }
    }
}

fn srtp_keys(event: Event) -> SrtpKeys {
    match event {
        Event::Connected(connected) => connected.srtp.expect("SRTP"),
        other => panic!("{other:?}"),
    }
}

/// Client key, server key, client salt, server salt, as `openssl` prints the exporter's output.
fn keying_material(client: &MasterKey, server: &MasterKey) -> String {
    let (client, server) = (client.expose(), server.expose());
    let material = [&client[..16], &server[..16], &client[16..], &server[16..]].concat();
    material.iter().map(|b| format!("{b:02X}")).collect()
}

#[test]
fn s_client_is_our_client() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    let Some(mut peer) = Peer::start(&["s_client", "-connect", &address], "56") else { return };
    let (session, event) = run(&socket, None, Role::Server, &peer.fingerprint());
    let keys = srtp_keys(event);
    assert_eq!(keys.profile, Profile::AeadAes128Gcm, "the server's order");
    assert_eq!(peer.line("Keying material: "), keying_material(&keys.remote, &keys.local));

    // Its end of input is the end of the call: close_notify, understood by a tail.
    let mut tail = session.into_tail().unwrap();
    drop(peer.child.stdin.take());
    let until = Instant::now() + PATIENCE;
    let mut buf = [0; 2048];
    while Instant::now() < until {
        if let Ok(len) = socket.recv(&mut buf)
            && tail.handle_datagram(&buf[..len]) == Some(TailEvent::Closed)
        {
            return;
        }
    }
    panic!("no close_notify");
}

#[test]
fn s_server_is_our_server() {
    let Some(mut peer) = Peer::start(&["s_server", "-accept", "127.0.0.1:0", "-Verify", "1"], "60") else {
        return;
    };
    let address = peer.line("ACCEPT ").parse().unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (mut session, event) = run(&socket, Some(address), Role::Client, &peer.fingerprint());
    let keys = srtp_keys(event);
    assert_eq!(keys.profile, Profile::AesCm128HmacSha1_80, "the server's order");
    assert_eq!(peer.line("Keying material: "), keying_material(&keys.local, &keys.remote));

    // It understands our application data and a tail's farewell.
    session.send_application_data(b"a line\n").unwrap();
    socket.send_to(&session.poll_transmit().unwrap(), address).unwrap();
    assert_eq!(peer.line("a l"), "ine");
    let farewell = session.into_tail().unwrap().close().unwrap();
    socket.send_to(&farewell, address).unwrap();
    assert_eq!(peer.line("DONE"), "");
    drop(peer.child.stdin.take());
}
