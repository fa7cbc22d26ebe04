//! TCP and TLS: calls, connections as flows, certificates, and what is done to connections.

mod common;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use bifrons_sip_protocol::*;
use common::*;

/// A directory with `agent.pem` and `cafile.pem`, made with the openssl program. None if that is missing.
fn certificates(name: &str) -> Option<PathBuf> {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let run = |arguments: &[&str]| {
        let output = Command::new("openssl").args(arguments).current_dir(&directory).output().ok()?;
        assert!(
            output.status.success(),
            "openssl {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Some(())
    };
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30"];
    let request = |arguments: &[&str]| run(&[&["req"], &key[..], arguments].concat());
    let Some(()) =
        request(&["-x509", "-subj", "/CN=Test authority", "-keyout", "ca.key", "-out", "cafile.pem"])
    else {
        println!("skipped: the openssl program is missing");
        return None;
    };
    for (host, file) in [("127.0.0.1", "agent"), ("peer.example.org", "peer")] {
        fs::write(directory.join("ext"), format!("subjectAltName=DNS:{host}")).unwrap();
        request(&["-subj", &format!("/CN={host}"), "-keyout", "key", "-out", "csr"])?;
        run(&[
            "x509",
            "-req",
            "-in",
            "csr",
            "-CA",
            "cafile.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-days",
            "30",
            "-extfile",
            "ext",
            "-out",
            "crt",
        ])?;
        let both = fs::read_to_string(directory.join("key")).unwrap()
            + &fs::read_to_string(directory.join("crt")).unwrap();
        fs::write(directory.join(format!("{file}.pem")), both).unwrap();
    }
    Some(directory)
}

fn tls_settings(directory: &Path, verify: TlsVerify) -> Option<TlsSettings> {
    Some(TlsSettings { directory: directory.to_str().unwrap().into(), verify })
}

/// A TLS client made of the openssl program.
struct TlsClient {
    child: Child,
    stdin: ChildStdin,
    stdout: ChildStdout,
}

impl TlsClient {
    fn connect(address: SocketAddr, extra: &[&str], directory: &Path) -> TlsClient {
        let mut child = Command::new("openssl")
            .args(["s_client", "-quiet", "-nocommands", "-connect", &address.to_string()])
            .args(extra)
            .current_dir(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        TlsClient { child, stdin, stdout }
    }

    fn send(&mut self, text: &str) {
        self.stdin.write_all(text.as_bytes()).unwrap();
        self.stdin.flush().unwrap();
    }

    fn read(&mut self) -> String {
        read_message(&mut self.stdout)
    }
}

impl Drop for TlsClient {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn anywhere() -> SocketAddr {
    "127.0.0.1:9".parse().unwrap()
}

/// An INVITE, our answers, ACK and BYE over something that writes and reads.
fn call_in(sip: &mut Sip, transport: &str, write: &mut dyn FnMut(Option<&str>) -> String) -> Origin {
    let call = Call::new("stream", "sip:us@127.0.0.1");
    write(Some(&request_of_peer(
        transport,
        anywhere(),
        "INVITE",
        "i",
        &call,
        "Contact: <sip:p@127.0.0.1>\r\n",
        "v=0\r\n",
    )));
    let invite = sip.incoming("INVITE");
    sip.respond(invite.id, 200, CONTACT, "v=0\r\n");
    loop {
        if write(None).starts_with("SIP/2.0 200 ") {
            break;
        }
    }
    let dialog = call.tagged("ours");
    write(Some(&request_of_peer(transport, anywhere(), "ACK", "a", &dialog, "", "")));
    sip.expect(|message| matches!(message, FromSip::Ack { .. }));
    write(Some(&request_of_peer(transport, anywhere(), "BYE", "b", &dialog.cseq(2), "", "")));
    let bye = sip.incoming("BYE");
    sip.respond(bye.id, 200, "", "");
    assert!(write(None).starts_with("SIP/2.0 200 "));
    invite.origin
}

fn tcp_call(sip: &mut Sip, stream: &mut TcpStream) -> Origin {
    call_in(sip, "TCP", &mut |text| match text {
        Some(text) => {
            write(stream, text);
            String::new()
        }
        None => read_message(stream),
    })
}

#[test]
fn a_call_over_tcp_and_a_request_back_over_its_flow() {
    let mut sip = Sip::start();
    sip.send(&ToSip::Trace { on: true });
    let address = sip.listen("main", Transport::Tcp, "127.0.0.1:0");
    let mut stream = tcp(address);
    let origin = tcp_call(&mut sip, &mut stream);
    assert_eq!((origin.transport, origin.local), (Transport::Tcp, address));
    assert_eq!(origin.source, stream.local_addr().unwrap());
    let flow = origin.flow.expect("a flow");
    let up = sip.expect(|message| matches!(message, FromSip::FlowUp { .. }));
    assert!(matches!(up, FromSip::FlowUp { id, remote, .. } if id == flow && remote == origin.source));
    // The URI leads nowhere: only the flow does.
    let text = Call::new("back", "sip:p@192.0.2.1").text("OPTIONS", "", "");
    let id = sip.request_with("", "main", Some(flow), RequestFlags::NONE, &text);
    let got = read_message(&mut stream);
    assert!(got.starts_with("OPTIONS sip:p@192.0.2.1"), "{got}");
    assert!(header(&got, "Via").unwrap().starts_with("SIP/2.0/TCP"));
    write(&mut stream, &answer(&got, "200 OK", "b", "", ""));
    assert_eq!(sip.response(id, 200).origin.unwrap().flow, Some(flow));
    for (direction, start) in [(TraceDirection::Received, "BYE "), (TraceDirection::Sent, "OPTIONS ")] {
        sip.expect(|message| match message {
            FromSip::Trace { direction: it, transport: Transport::Tcp, text, .. } => {
                *it == direction && text.starts_with(start.as_bytes())
            }
            _ => false,
        });
    }
    drop(stream);
    let down = sip.expect(|message| matches!(message, FromSip::FlowDown { .. }));
    assert!(matches!(down, FromSip::FlowDown { id, .. } if id == flow), "{down:?}");
    let id = sip.request_with("", "main", Some(flow), RequestFlags::NONE, &text);
    sip.refused(RefusedReason::UnknownFlow);
    let _ = id;
    sip.assert_alive();
    assert_eq!(sip.counter("flows_now"), 0);
}

#[test]
fn control_closes_and_pings_a_flow() {
    let mut sip = Sip::start();
    let address = sip.listen("main", Transport::Tcp, "127.0.0.1:0");
    let mut stream = tcp(address);
    let flow = tcp_call(&mut sip, &mut stream).flow.unwrap();
    sip.send(&ToSip::Flow { id: flow, action: FlowAction::Ping { interval_ms: 200 } });
    let mut ping = [0; 4];
    stream.read_exact(&mut ping).unwrap();
    assert_eq!(&ping, b"\r\n\r\n");
    write(&mut stream, "\r\n");
    sip.send(&ToSip::Flow { id: flow, action: FlowAction::Close });
    let down = sip.expect(|message| matches!(message, FromSip::FlowDown { .. }));
    assert!(matches!(down, FromSip::FlowDown { id, cause: DownCause::Local, .. } if id == flow));
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    sip.send(&ToSip::Flow { id: flow, action: FlowAction::Close });
    sip.refused(RefusedReason::UnknownFlow);
    sip.assert_alive();
}

#[test]
fn our_call_over_tcp_and_the_end_of_its_connection() {
    let mut sip = Sip::start();
    sip.listen("main", Transport::Tcp, "127.0.0.1:0");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("sip:{};transport=tcp", listener.local_addr().unwrap());
    let id = sip.request(&uri, &Call::new("tcp-out", "sip:b@example.org").text("INVITE", CONTACT, ""));
    let (mut stream, _) = listener.accept().unwrap();
    let invite = read_message(&mut stream);
    write(&mut stream, &answer(&invite, "180 Ringing", "b", "", ""));
    sip.response(id, 180);
    // The connection ends and the port with it; then we cancel. Neither is an end of the process.
    drop((stream, listener));
    sip.expect(|message| matches!(message, FromSip::FlowDown { .. }));
    sip.send(&ToSip::Cancel { id, headers: Vec::new() });
    let message = sip.expect(|message| matches!(message, FromSip::Response { id: it, .. } if *it == id));
    assert!(matches!(message, FromSip::Response { internal: true, .. }), "{message:?}");
    sip.release(TransactionId::Client(id));
    sip.assert_alive();
}

#[test]
fn a_connection_that_ends_at_any_moment_of_a_call_does_no_harm() {
    let mut sip = Sip::start();
    sip.listen("main", Transport::Tcp, "127.0.0.1:0");
    for moment in 0..5 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let uri = format!("sip:{};transport=tcp", listener.local_addr().unwrap());
        let call = Call::new(&format!("tcp-{moment}"), "sip:b@example.org");
        let id = sip.request(&uri, &call.text("INVITE", CONTACT, ""));
        let (mut stream, _) = listener.accept().unwrap();
        let invite = read_message(&mut stream);
        match moment {
            0 => {}
            1 => {
                // The CANCEL waits for a provisional answer that never comes.
                sip.send(&ToSip::Cancel { id, headers: Vec::new() });
                sip.assert_alive();
            }
            2 => {
                sip.send(&ToSip::Cancel { id, headers: Vec::new() });
                sip.assert_alive();
                write(&mut stream, &answer(&invite, "180 Ringing", "b", "", ""));
            }
            3 => write(&mut stream, &answer(&invite, "486 Busy Here", "b", "", "")),
            _ => write(&mut stream, &answer(&invite, "200 OK", "b", &format!("Contact: <{uri}>\r\n"), "")),
        }
        drop((stream, listener));
        sip.expect(|message| matches!(message, FromSip::Response { id: it, status, .. } if *it == id && *status >= 200));
        sip.ack(id, "z9hG4bKgone", &uri, &call.tagged("b").text("ACK", "", ""));
        sip.release(TransactionId::Client(id));
        sip.assert_alive();
    }
}

#[test]
fn a_dead_tcp_target_is_503() {
    let mut sip = Sip::start();
    sip.listen("main", Transport::Tcp, "127.0.0.1:0");
    let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let uri = format!("sip:{dead};transport=tcp");
    let id = sip.request(&uri, &Call::new("dead", "sip:b@example.org").text("INVITE", CONTACT, ""));
    assert!(sip.response(id, 503).internal);
    sip.assert_alive();
}

#[test]
fn connections_are_limited_a_source() {
    let settings = Settings { flows_per_source_max: 3, ..Settings::default() };
    let mut sip = Sip::start_with(settings);
    let address = sip.listen("main", Transport::Tcp, "127.0.0.1:0");
    let mut streams: Vec<_> = (0..4).map(|_| tcp(address)).collect();
    for (number, stream) in streams.iter_mut().enumerate() {
        let call = Call::new(&format!("limit{number}"), "sip:us@127.0.0.1");
        write(stream, &request_of_peer("TCP", anywhere(), "OPTIONS", &format!("l{number}"), &call, "", ""));
        sip.expect(|message| matches!(message, FromSip::FlowUp { .. }));
    }
    sip.expect(|message| matches!(message, FromSip::FlowDown { .. }));
    assert_eq!((sip.counter("refused_flows"), sip.counter("flows_now")), (1, 3));
}

/// Multipart bodies come apart before the stack over connections too, and what cannot is refused. `wire` sends
/// a text, or gives the next message.
fn multipart_over(sip: &mut Sip, transport: &str, wire: &mut dyn FnMut(Option<&str>) -> String) {
    let message = |id: &str, extra: &str, body: &str| {
        let call = Call::new(&format!("multi{id}"), "sip:us@127.0.0.1");
        request_of_peer(transport, anywhere(), "MESSAGE", id, &call, extra, body)
    };
    let multipart = "Content-Type: multipart/mixed;boundary=cut\r\n";
    let body = "--cut\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n\r\n--cut\r\nContent-Type: application/isup\r\n\r\n\u{1}\u{2}\r\n--cut--\r\n";
    wire(Some(&message("m1", multipart, body)));
    let got = sip.incoming("MESSAGE");
    assert!(
        got.text.ends_with("Content-Type: application/sdp\r\nContent-Length: 5\r\n\r\nv=0\r\n"),
        "{}",
        got.text
    );
    assert_eq!(got.parts[0].body, b"\x01\x02");
    sip.respond(got.id, 200, "", "");
    assert!(wire(None).starts_with("SIP/2.0 200 "));
    let long = "Content-Type: multipart/mixed;boundary=longer-than-the-body\r\n";
    for (id, extra, body, status) in
        [("n1", long, "--x--".to_owned(), "400"), ("n2", multipart, "x".repeat(500), "413")]
    {
        wire(Some(&message(id, extra, &body)));
        let got = wire(None);
        assert!(got.starts_with(&format!("SIP/2.0 {status} ")), "{got}");
    }
    assert_eq!(sip.counter("refused_multipart"), 2);
}

fn multipart_settings() -> Settings {
    Settings { multipart_bytes_max: 400, ..Settings::default() }
}

#[test]
fn multipart_over_tls() {
    let Some(directory) = certificates("multipart") else { return };
    let mut sip = Sip::start_with(multipart_settings());
    let tls = tls_settings(&directory, TlsVerify::None);
    let address = sip.listen_tls("main", Transport::Tls, "127.0.0.1:0", tls);
    let mut client = TlsClient::connect(address, &[], &directory);
    multipart_over(&mut sip, "TLS", &mut |text| match text {
        Some(text) => {
            client.send(text);
            String::new()
        }
        None => client.read(),
    });
    sip.assert_alive();
}

#[test]
fn blocked_sources_and_multipart_over_tcp() {
    let mut sip = Sip::start_with(multipart_settings());
    let address = sip.listen("main", Transport::Tcp, "127.0.0.1:0");
    let mut stream = tcp(address);
    multipart_over(&mut sip, "TCP", &mut |text| match text {
        Some(text) => {
            write(&mut stream, text);
            String::new()
        }
        None => read_message(&mut stream),
    });
    let blocked = vec![Network { address: "127.0.0.1".parse().unwrap(), prefix: 32 }];
    sip.send(&ToSip::Gate { rules: GateRules { blocked, ..GateRules::default() } });
    sip.assert_alive();
    write(
        &mut stream,
        &request_of_peer("TCP", anywhere(), "MESSAGE", "b", &Call::new("multi3", "sip:us@127.0.0.1"), "", ""),
    );
    sip.expect(|message| matches!(message, FromSip::FlowDown { .. }));
    assert_eq!(sip.counter("refused_source"), 1);
    sip.assert_alive();
}

#[test]
fn a_call_over_tls_with_and_without_a_client_certificate() {
    let Some(directory) = certificates("call") else { return };
    let mut sip = Sip::start();
    let address =
        sip.listen_tls("main", Transport::Tls, "127.0.0.1:0", tls_settings(&directory, TlsVerify::None));
    for certificate in [false, true] {
        let extra: &[&str] = if certificate { &["-cert", "peer.pem", "-key", "peer.pem"] } else { &[] };
        let mut client = TlsClient::connect(address, extra, &directory);
        let origin = call_in(&mut sip, "TLS", &mut |text| match text {
            Some(text) => {
                client.send(text);
                String::new()
            }
            None => client.read(),
        });
        assert_eq!(origin.transport, Transport::Tls);
        let tls = origin.tls.expect("TLS");
        if !certificate {
            assert!(tls.subjects.is_empty() && !tls.verified, "{tls:?}");
        }
        drop(client);
        sip.expect(|message| matches!(message, FromSip::FlowDown { .. }));
    }
    sip.assert_alive();
}

#[test]
fn a_client_must_show_a_certificate_where_policy_says_so() {
    let Some(directory) = certificates("verify") else { return };
    let mut sip = Sip::start();
    let address =
        sip.listen_tls("main", Transport::Tls, "127.0.0.1:0", tls_settings(&directory, TlsVerify::Incoming));
    let options = |number: u32| {
        let call = Call::new(&format!("v{number}"), "sip:us@127.0.0.1");
        request_of_peer("TLS", anywhere(), "OPTIONS", &format!("v{number}"), &call, "", "")
    };
    let mut without = TlsClient::connect(address, &[], &directory);
    let _ = without.stdin.write_all(options(1).as_bytes());
    let mut rest = Vec::new();
    let _ = without.stdout.read_to_end(&mut rest);
    let mut with = TlsClient::connect(address, &["-cert", "peer.pem", "-key", "peer.pem"], &directory);
    with.send(&options(2));
    let got = sip.incoming("OPTIONS");
    assert!(got.text.contains("Call-ID: v2"), "{}", got.text);
    let tls = got.origin.tls.expect("TLS");
    assert!(tls.verified && tls.subjects.iter().any(|name| name.contains("peer.example.org")), "{tls:?}");
    sip.respond(got.id, 200, "", "");
    assert!(with.read().starts_with("SIP/2.0 200 "));
    sip.assert_alive();
}

/// A TLS server made of the openssl program; what it receives goes to its standard output.
fn tls_server(directory: &Path, certificate: &str) -> (Child, SocketAddr) {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let child = Command::new("openssl")
        .args([
            "s_server",
            "-quiet",
            "-accept",
            &address.to_string(),
            "-cert",
            certificate,
            "-key",
            certificate,
        ])
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = std::time::Instant::now() + PATIENCE;
    while TcpStream::connect(address).is_err() {
        assert!(std::time::Instant::now() < deadline, "openssl s_server does not start");
        std::thread::yield_now();
    }
    (child, address)
}

#[test]
fn a_server_must_be_the_one_that_we_meant() {
    let Some(directory) = certificates("outgoing") else { return };
    let mut sip = Sip::start();
    sip.listen_tls("main", Transport::Tls, "127.0.0.1:0", tls_settings(&directory, TlsVerify::Outgoing));
    for (number, (certificate, good)) in [("agent.pem", true), ("peer.pem", false)].into_iter().enumerate() {
        let (mut server, address) = tls_server(&directory, certificate);
        // The certificate of agent.pem names 127.0.0.1.
        let uri = format!("sips:{address}");
        let text = Call::new(&format!("tls-out{number}"), "sip:b@example.org").text("OPTIONS", "", "");
        let id = sip.request(&uri, &text);
        if good {
            let stdout = server.stdout.as_mut().unwrap();
            let came = wait_readable(std::os::fd::AsFd::as_fd(stdout), PATIENCE);
            assert!(came, "{:?}", sip.drain());
            let got = read_message(stdout);
            assert!(got.starts_with("OPTIONS "), "{got}");
            write(server.stdin.as_mut().unwrap(), &answer(&got, "200 OK", "b", "", ""));
            sip.response(id, 200);
        } else {
            let message =
                sip.expect(|message| matches!(message, FromSip::Response { id: it, .. } if *it == id));
            assert!(matches!(message, FromSip::Response { internal: true, .. }), "{message:?}");
        }
        server.kill().unwrap();
        server.wait().unwrap();
    }
    sip.assert_alive();
}

#[test]
fn tls_is_1_2_or_later() {
    let Some(directory) = certificates("version") else { return };
    let mut sip = Sip::start();
    let address =
        sip.listen_tls("main", Transport::Tls, "127.0.0.1:0", tls_settings(&directory, TlsVerify::None));
    for (number, (version, works)) in
        [("-tls1", false), ("-tls1_1", false), ("-tls1_2", true), ("-tls1_3", true)].into_iter().enumerate()
    {
        let mut client = TlsClient::connect(address, &[version, "-cipher", "ALL:@SECLEVEL=0"], &directory);
        let call = Call::new(&format!("ver{number}"), "sip:us@127.0.0.1");
        let text = request_of_peer("TLS", anywhere(), "OPTIONS", &format!("w{number}"), &call, "", "");
        let _ = client.stdin.write_all(text.as_bytes());
        if works {
            let got = sip.incoming("OPTIONS");
            assert!(got.text.contains(&format!("Call-ID: ver{number}")), "{version}: {}", got.text);
        } else {
            let mut rest = Vec::new();
            let _ = client.stdout.read_to_end(&mut rest);
            assert!(rest.is_empty(), "{version} gave {rest:?}");
        }
    }
    sip.assert_alive();
}

#[test]
fn a_hundred_tls_connections_opened_garbled_and_closed() {
    let Some(directory) = certificates("hundred") else { return };
    let mut sip = Sip::start();
    let address =
        sip.listen_tls("main", Transport::Tls, "127.0.0.1:0", tls_settings(&directory, TlsVerify::None));
    for number in 0..100u8 {
        let mut stream = tcp(address);
        // A ClientHello's first bytes, then nonsense, or nonsense from the start, or nothing.
        let hello = [22, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3];
        let garbage: Vec<u8> = (0..200u8).map(|byte| byte.wrapping_mul(number)).collect();
        let _ = match number % 4 {
            0 => stream.write_all(&[&hello[..], &garbage].concat()),
            1 => stream.write_all(&garbage),
            2 => stream.write_all(b"INVITE sip:a SIP/2.0\r\n\r\n"),
            _ => Ok(()),
        };
        drop(stream);
    }
    let mut clients: Vec<_> = (0..5).map(|_| TlsClient::connect(address, &[], &directory)).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.send("garbage\r\n\r\n\0\0\0 garbage");
        let call = Call::new(&format!("h{number}"), "sip:us@127.0.0.1");
        client.send(&request_of_peer("TLS", anywhere(), "OPTIONS", &format!("h{number}"), &call, "", ""));
    }
    drop(clients);
    let mut client = TlsClient::connect(address, &[], &directory);
    let call = Call::new("after", "sip:us@127.0.0.1");
    client.send(&request_of_peer("TLS", anywhere(), "MESSAGE", "after", &call, "", ""));
    let message = sip
        .expect(|message| matches!(message, FromSip::Request { text, .. } if text.starts_with(b"MESSAGE ")));
    let FromSip::Request { id, .. } = message else { unreachable!() };
    sip.respond(id, 200, "", "");
    assert!(client.read().starts_with("SIP/2.0 200 "));
    sip.assert_alive();
}

#[test]
fn ipv6_too() {
    if std::net::UdpSocket::bind("[::1]:0").is_err() {
        return println!("skipped: no IPv6 here");
    }
    let mut sip = Sip::start();
    let address = sip.listen("main", Transport::Udp, "[::1]:0");
    let peer = Peer::at("[::1]:0", address);
    let id = sip.request(&peer.uri(), &Call::new("v6", "sip:b@example.org").text("OPTIONS", "", ""));
    let got = peer.recv("OPTIONS ");
    peer.send(&answer(&got, "200 OK", "b", "", ""));
    assert_eq!(sip.response(id, 200).origin.unwrap().source, peer.address);
    peer.send(&peer.request("OPTIONS", "v6", &Call::new("v6-in", "sip:us@[::1]"), "", ""));
    let got = sip.incoming("OPTIONS");
    sip.respond(got.id, 200, "", "");
    peer.recv("SIP/2.0 200 ");
}
