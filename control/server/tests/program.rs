//! The program itself: started, spoken with, ended.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_bifrons");
/// For whatever is waited for; passing takes a fraction of it.
const PATIENCE: Duration = Duration::from_secs(30);

/// A folder of a test's own, gone with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("bifrons-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn run(arguments: &[&str]) -> Output {
    Command::new(PROGRAM).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// It fails, and says this.
fn refuses(arguments: &[&str], parts: &[&str]) {
    let output = run(arguments);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for part in parts {
        assert!(said.contains(part), "`{part}` is not in: {said}");
    }
}

/// A running gateway.
struct Gateway {
    child: Child,
    http: SocketAddr,
    lines: std::sync::mpsc::Receiver<String>,
}

impl Gateway {
    /// Runs a configuration; HTTP is at a port that the kernel chooses.
    fn start(folder: &Folder, configuration: &str) -> Self {
        let file = folder.write("bifrons.toml", configuration);
        let mut child = Command::new(PROGRAM)
            .arg("--config")
            .arg(file)
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let (send, lines) = std::sync::mpsc::channel();
        let log = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || log.lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
        let mut gateway = Self { child, http: ([127, 0, 0, 1], 0).into(), lines };
        let line = gateway.line("API at http://");
        let address = line.split("http://").nth(1).and_then(|rest| rest.split('/').next());
        gateway.http = address.unwrap().parse().unwrap();
        gateway
    }

    /// The next line of the log with this in it.
    fn line(&self, part: &str) -> String {
        let mut before = Vec::new();
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(part) => return line,
                Ok(line) => before.push(line),
                Err(_) => panic!("`{part}` is not in the log:\n{}", before.join("\n")),
            }
        }
    }

    fn request(&self, path: &str, mut request: Value) -> Value {
        request["transaction"] = "t".into();
        let body = request.to_string();
        let mut stream = TcpStream::connect(self.http).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(
            stream,
            "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        let (head, body) = reply.split_once("\r\n\r\n").unwrap();
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {head}\n{body}"))
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("sh").args(["-c", "kill -$0 $1", signal, &pid]).status().unwrap().success());
    }

    fn end(mut self) -> ExitStatus {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("it does not end");
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// No two tests share a port, and none needs the SIP program.
const QUIET: &str = "[http]\nlisten = [\"127.0.0.1:0\"]\n[websocket]\nlisten = []\n\
                     [media]\naddresses = [\"127.0.0.1\"]\nworkers = 1\nlegs_per_worker_max = 64\nrealtime = false\n\
                     [plugins]\ndisable = [\"janus.plugin.sip\"]\n";

/// As [`QUIET`], with SIP at this address.
fn with_sip(udp: SocketAddr) -> String {
    let listen =
        format!("[sip]\nlisten = [{{ ident = \"sip\", transport = \"udp\", address = \"{udp}\" }}]\n");
    QUIET.replace("[plugins]\ndisable = [\"janus.plugin.sip\"]\n", &listen)
}

/// The tests of the SIP side need the program beside ours; the workspace builds it.
fn has_sip_program() -> bool {
    let there = PathBuf::from(PROGRAM).with_file_name("bifrons-sip").is_file();
    if !there {
        println!("skipped: bifrons-sip is not built (cargo build -p bifrons-sip)");
    }
    there
}

/// An audio offer of a browser.
fn offer() -> Value {
    let fingerprint = ["AB"; 32].join(":");
    let sdp = format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n\
         m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:abcd\r\n\
         a=ice-pwd:abcdefghijklmnopqrstuvwx\r\na=fingerprint:sha-256 {fingerprint}\r\na=setup:actpass\r\n\
         a=mid:0\r\na=sendrecv\r\na=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\n"
    );
    json!({"type": "offer", "sdp": sdp})
}

#[test]
fn serves_the_api_and_ends_at_sigterm() {
    let folder = Folder::new("serves");
    let gateway = Gateway::start(&folder, QUIET);
    let info = gateway.request("/janus", json!({"janus": "info"}));
    assert_eq!(info["janus"], "server_info");
    assert!(info["plugins"]["janus.plugin.echotest"].is_object(), "{info}");
    assert!(info["plugins"].get("janus.plugin.sip").is_none(), "it is disabled");
    let session = gateway.request("/janus", json!({"janus": "create"}))["data"]["id"].to_string();
    let path = format!("/janus/{session}");
    let attach = gateway.request(&path, json!({"janus": "attach", "plugin": "janus.plugin.echotest"}));
    let path = format!("{path}/{}", attach["data"]["id"]);
    let reply = gateway.request(&path, json!({"janus": "message"}));
    assert_eq!(reply["error"]["code"], 456, "{reply}");
    let reply = gateway.request(&path, json!({"janus": "message", "body": {"audio": "loud"}}));
    assert_eq!(reply["janus"], "ack", "{reply}");
    gateway.signal("TERM");
    assert_eq!(gateway.end().code(), Some(0));
}

#[test]
fn drains_while_a_call_runs_and_ends_at_the_second_signal() {
    let folder = Folder::new("drains");
    let gateway = Gateway::start(&folder, QUIET);
    let session = gateway.request("/janus", json!({"janus": "create"}))["data"]["id"].to_string();
    let path = format!("/janus/{session}");
    let attach = gateway.request(&path, json!({"janus": "attach", "plugin": "janus.plugin.echotest"}));
    let path = format!("{path}/{}", attach["data"]["id"]);
    let call = json!({"janus": "message", "body": {"audio": true}, "jsep": offer()});
    assert_eq!(gateway.request(&path, call)["janus"], "ack");
    gateway.signal("TERM");
    gateway.line("draining: 1 calls");
    let refused = gateway.request("/janus", json!({"janus": "create"}));
    assert_eq!(refused["error"]["code"], 472, "{refused}");
    assert_eq!(gateway.request("/janus", json!({"janus": "info"}))["accepting-new-sessions"], false);
    gateway.signal("INT");
    gateway.line("a second signal: 1 calls are ended");
    assert_eq!(gateway.end().code(), Some(0));
}

/// Packets to a worker's port, until it is dropped: a load that depends on nobody's speed.
struct Load(std::sync::Arc<std::sync::atomic::AtomicBool>, Option<std::thread::JoinHandle<()>>);

impl Load {
    fn on(port: u16) -> Self {
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let stopped = stop.clone();
        let run = move || {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
                // Not media by its first byte; that nobody listens yet is no matter.
                let _ = socket.send_to(&[0xff; 20], ("127.0.0.1", port));
                std::thread::sleep(Duration::from_millis(2));
            }
        };
        Self(stop, Some(std::thread::spawn(run)))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
        let _ = self.1.take().map(std::thread::JoinHandle::join);
    }
}

/// Does it until `done`.
fn until<T: std::fmt::Debug>(mut work: impl FnMut() -> T, done: impl Fn(&T) -> bool) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        let result = work();
        if done(&result) {
            return result;
        }
        assert!(Instant::now() < end, "it does not come: {result:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn free_udp_port() -> u16 {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// One call to the echo test: the reply, and the call is over.
fn call_once(gateway: &Gateway, session: &str) -> Value {
    let attach = gateway.request(session, json!({"janus": "attach", "plugin": "janus.plugin.echotest"}));
    let handle = format!("{session}/{}", attach["data"]["id"]);
    let reply =
        gateway.request(&handle, json!({"janus": "message", "body": {"audio": true}, "jsep": offer()}));
    gateway.request(&handle, json!({"janus": "detach"}));
    reply
}

#[test]
fn a_busy_server_refuses_calls_says_why_and_takes_them_again() {
    let folder = Folder::new("busy");
    let port = free_udp_port();
    let media = format!("[limits]\nworker_packets_per_s_max = 50\n[media]\nwebrtc_port = {port}\n");
    let gateway = Gateway::start(&folder, &QUIET.replace("[media]\n", &media));
    let session = gateway.request("/janus", json!({"janus": "create"}))["data"]["id"].to_string();
    let session = format!("/janus/{session}");
    let load = Load::on(port);
    let refused = until(|| call_once(&gateway, &session), |reply| reply["janus"] == "error");
    assert_eq!(refused["error"]["code"], 490, "{refused}");
    let reason = refused["error"]["reason"].as_str().unwrap();
    assert!(reason.contains("the server is busy: worker_packets_per_s_max is 50"), "{reason}");
    drop(load);
    until(|| call_once(&gateway, &session), |reply| reply["janus"] == "ack");

    gateway.signal("USR1");
    let worker = gateway.line("worker 0: not_media=");
    assert!(worker.contains(" turns="), "{worker}");
    assert!(gateway.line("engine: ").contains("calls_refused_busy="));
    assert!(gateway.line("api: ").contains("media_errors: "));
    gateway.signal("TERM");
    assert_eq!(gateway.end().code(), Some(0));
}

#[test]
fn a_busy_server_sends_an_invite_away_before_it_rings() {
    if !has_sip_program() {
        return;
    }
    let folder = Folder::new("busy-sip");
    let (port, sip) = (free_udp_port(), SocketAddr::from(([127, 0, 0, 1], free_udp_port())));
    let media = format!("[limits]\nworker_packets_per_s_max = 50\n[media]\nwebrtc_port = {port}\n");
    let configuration = with_sip(sip).replace("[media]\n", &media) + "trunks = [\"127.0.0.1\"]\n";
    let gateway = Gateway::start(&folder, &configuration);
    let session = gateway.request("/janus", json!({"janus": "create"}))["data"]["id"].to_string();
    let session = format!("/janus/{session}");
    let attach = gateway.request(&session, json!({"janus": "attach", "plugin": "janus.plugin.sip"}));
    let handle = format!("{session}/{}", attach["data"]["id"]);
    let register = json!({"request": "register", "type": "guest", "username": "sip:alice@127.0.0.1"});
    gateway.request(&handle, json!({"janus": "message", "body": register}));
    let trunk = UdpSocket::bind("127.0.0.1:0").unwrap();
    trunk.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let mut number = 0;
    // The final answer to one INVITE, or what came last of it.
    let mut invite = || {
        number += 1;
        let own = trunk.local_addr().unwrap();
        let request = |method: &str, to_tag: &str| {
            format!(
                "{method} sip:alice@{sip} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bK{number}\r\n\
                 From: <sip:bob@{own}>;tag=f{number}\r\nTo: <sip:alice@{sip}>{to_tag}\r\n\
                 Call-ID: c{number}@{own}\r\nCSeq: 1 {method}\r\nContact: <sip:bob@{own}>\r\n\
                 Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
            )
        };
        trunk.send_to(request("INVITE", "").as_bytes(), sip).unwrap();
        let mut last = String::new();
        let mut buffer = [0; 4_000];
        while let Ok((len, _)) = trunk.recv_from(&mut buffer) {
            let answer = text(&buffer[..len]);
            if !answer.contains(&format!("Call-ID: c{number}@")) || !answer.contains("CSeq: 1 INVITE") {
                continue;
            }
            last = answer;
            if !last.starts_with("SIP/2.0 1") {
                break;
            }
            if last.starts_with("SIP/2.0 180") {
                trunk.send_to(request("CANCEL", "").as_bytes(), sip).unwrap();
            }
        }
        let tag = last.lines().find_map(|line| line.strip_prefix("To: ")?.split(";tag=").nth(1));
        trunk.send_to(request("ACK", &format!(";tag={}", tag.unwrap_or(""))).as_bytes(), sip).unwrap();
        last
    };
    let load = Load::on(port);
    let refused = until(&mut invite, |answer| answer.starts_with("SIP/2.0 503"));
    assert!(refused.contains("Retry-After: 5\r\n"), "{refused}");
    drop(load);
    until(&mut invite, |answer| answer.starts_with("SIP/2.0 487"));
    gateway.signal("TERM");
    gateway.end();
}

/// What the user agent, the policy, the link and the process have refused.
#[test]
fn what_the_sip_side_has_counted_stands_in_the_log() {
    if !has_sip_program() {
        return;
    }
    let folder = Folder::new("counted-sip");
    let sip = SocketAddr::from(([127, 0, 0, 1], free_udp_port()));
    let limits = "allowed_targets = [\"example.com\"]\ngate_datagram_bytes_max = 1000\n";
    let gateway = Gateway::start(&folder, &(with_sip(sip) + limits));
    let session = gateway.request("/janus", json!({"janus": "create"}))["data"]["id"].to_string();
    let session = format!("/janus/{session}");
    let attach = gateway.request(&session, json!({"janus": "attach", "plugin": "janus.plugin.sip"}));
    let handle = format!("{session}/{}", attach["data"]["id"]);
    let message = json!({"request": "message", "uri": "sip:bob@example.org", "content": "x"});
    gateway.request(&handle, json!({"janus": "message", "body": message}));
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    let own = stranger.local_addr().unwrap();
    stranger.set_read_timeout(Some(PATIENCE)).unwrap();
    stranger.send_to(format!("OPTIONS sip:x@y SIP/2.0\r\n{}", "x".repeat(2_000)).as_bytes(), sip).unwrap();
    let request = format!(
        "MESSAGE sip:alice@{sip} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bK1\r\n\
         From: <sip:bob@{own}>;tag=f\r\nTo: <sip:alice@{sip}>\r\nCall-ID: c@{own}\r\nCSeq: 1 MESSAGE\r\n\
         Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    );
    stranger.send_to(request.as_bytes(), sip).unwrap();
    let mut buffer = [0; 4_000];
    let (len, _) = stranger.recv_from(&mut buffer).unwrap();
    assert!(text(&buffer[..len]).starts_with("SIP/2.0 403"), "{}", text(&buffer[..len]));
    gateway.signal("USR1");
    let agent = gateway.line("janus.plugin.sip: ");
    assert!(agent.contains("refused_source=1") && agent.contains("forbidden_targets=1"), "{agent}");
    assert!(gateway.line("SIP link: ").contains("starts=1 "));
    let process = gateway.line("SIP process: ");
    assert!(process.contains("requests_received=1 ") && process.contains("gate"), "{process}");
    gateway.signal("TERM");
    gateway.end();
}

#[test]
fn certificates_are_read_again_at_sighup() {
    let folder = Folder::new("certificates");
    let make = || rcgen::generate_simple_self_signed(["localhost".into()]).unwrap();
    let made = make();
    let certificate = folder.write("c.pem", &made.cert.pem());
    let key = folder.write("k.pem", &made.signing_key.serialize_pem());
    let tls = format!("[tls]\ncertificate = {certificate:?}\nkey = {key:?}\n");
    let http = "[http]\nlisten_tls = [\"127.0.0.1:0\"]\n";
    let gateway = Gateway::start(&folder, &(QUIET.replace("[http]\n", http) + &tls));
    gateway.line("API at https://");
    let other = make();
    folder.write("c.pem", &other.cert.pem());
    gateway.signal("HUP");
    gateway.line("the old certificate stays");
    folder.write("k.pem", &other.signing_key.serialize_pem());
    gateway.signal("HUP");
    gateway.line("certificates read again");
    assert_eq!(gateway.request("/janus", json!({"janus": "ping"}))["janus"], "pong");
    gateway.signal("TERM");
    assert_eq!(gateway.end().code(), Some(0));
}

#[test]
fn a_dead_sip_process_is_replaced() {
    if !has_sip_program() {
        return;
    }
    let folder = Folder::new("sip");
    let gateway = Gateway::start(&folder, &with_sip(([127, 0, 0, 1], 0).into()));
    let children = |gateway: &Gateway| -> Vec<String> {
        let id = gateway.child.id();
        let list = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
        list.split_whitespace().map(str::to_owned).collect()
    };
    let first = children(&gateway);
    assert_eq!(first.len(), 1);
    assert!(Command::new("sh").args(["-c", "kill -KILL $0", &first[0]]).status().unwrap().success());
    gateway.line("has ended (signal: 9");
    gateway.line("SIP listens at");
    assert_eq!(children(&gateway).len(), 1);
    assert_ne!(children(&gateway), first);
    gateway.signal("TERM");
    assert_eq!(gateway.end().code(), Some(0));
}

/// How often the threads of a process and of its children have gone to sleep, which is how often they were
/// woken.
fn sleeps(pid: u32) -> u64 {
    let file = |path: String| std::fs::read_to_string(path).unwrap_or_default();
    let mut count = 0;
    for thread in std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
        let folder = thread.path().display().to_string();
        let status = file(format!("{folder}/status"));
        let own = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        count += own.and_then(|number| number.trim().parse().ok()).unwrap_or(0);
        let children = file(format!("{folder}/children"));
        count += children.split_whitespace().filter_map(|pid| pid.parse().ok()).map(sleeps).sum::<u64>();
    }
    count
}

/// With nothing to do no thread wakes: some three seconds pass, sooner or later, in which none did. (A SIP process
/// that says nothing is asked every 15 s whether it lives.)
#[test]
fn nothing_to_do_wakes_nobody() {
    let folder = Folder::new("asleep");
    let free = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let configuration = if has_sip_program() { with_sip(free) } else { QUIET.to_owned() };
    let gateway = Gateway::start(&folder, &configuration);
    // A session came and went: what looked after it has ended too.
    let session = gateway.request("/janus", json!({"janus": "create"}))["data"]["id"].as_u64().unwrap();
    gateway.request(&format!("/janus/{session}"), json!({"janus": "destroy"}));
    let pid = gateway.child.id();
    let asleep = (0..10).any(|_| {
        let before = sleeps(pid);
        assert!(before > 0);
        std::thread::sleep(Duration::from_secs(3));
        sleeps(pid) == before
    });
    assert!(asleep, "woken in each of ten times 3 s");
    assert_eq!(gateway.request("/janus", json!({"janus": "ping"}))["janus"], "pong");
    gateway.signal("TERM");
    assert!(gateway.end().success());
}

#[test]
fn a_start_that_cannot_work_names_file_key_and_reason() {
    let folder = Folder::new("refuses");
    let file = folder.0.join("bifrons.toml").display().to_string();
    let arguments = ["--config", file.as_str()];

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    folder.write("bifrons.toml", &QUIET.replace("127.0.0.1:0", &address));
    refuses(&arguments, &[&file, "http.listen: ", &address, "in use"]);

    let tls = "[tls]\ncertificate = \"/nonexistent/c.pem\"\nkey = \"/nonexistent/k.pem\"\n";
    folder.write("bifrons.toml", &format!("{QUIET}{tls}"));
    refuses(&arguments, &["tls.certificate: /nonexistent/c.pem"]);

    folder
        .write("bifrons.toml", &QUIET.replace("addresses = [\"127.0.0.1\"]", "addresses = [\"192.0.2.1\"]"));
    refuses(&arguments, &["media: ", "192.0.2.1"]);

    folder.write("bifrons.toml", &format!("{QUIET}[server]\nlog = \"a=b=c\"\n"));
    refuses(&arguments, &["server.log: "]);

    // What this version cannot do is not passed over in silence.
    folder.write("bifrons.toml", &format!("{QUIET}[sip]\nkeepalive_s = 30\n"));
    refuses(&arguments, &["sip.keepalive_s: is not available"]);

    if has_sip_program() {
        let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        folder.write("bifrons.toml", &with_sip(address));
        refuses(&arguments, &["sip.listen: ", &address.to_string()]);
    }
    folder.write(
        "bifrons.toml",
        &format!("{}program = \"/nonexistent\"\n", with_sip(([127, 0, 0, 1], 0).into())),
    );
    refuses(&arguments, &["/nonexistent"]);
}

#[test]
fn the_commands() {
    let folder = Folder::new("commands");
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/bifrons.sample.toml");
    let output = run(&["check-config", sample]);
    assert!(output.status.success());
    assert!(text(&output.stdout).ends_with("good\n"));
    let bad = folder.write("bad.toml", "[http]\nlisten = \"everywhere\"\n").display().to_string();
    refuses(&["check-config", &bad], &[&bad, "http.listen", "line 2"]);
    refuses(&["--config", "/nonexistent/b.toml"], &["/nonexistent/b.toml", "cannot be read"]);

    folder.write("janus.jcfg", "general: { server_name = \"carrier\", session_timeout = 42 }\n");
    folder.write("janus.transport.http.jcfg", "general: { http = true, port = 8088 }\n");
    let janus = folder.0.display().to_string();
    let output = run(&["convert-config", &janus]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let converted = folder.write("converted.toml", &text(&output.stdout)).display().to_string();
    assert!(text(&output.stdout).contains("session_timeout_s = 42"));
    assert!(run(&["check-config", &converted]).status.success());
    refuses(&["convert-config", "/nonexistent"], &["/nonexistent"]);

    // Whether this machine is good enough is its own matter; that it is looked at is ours.
    let told = text(&run(&["doctor"]).stdout);
    for what in ["io_uring", "socket buffers", "descriptors", "bifrons-sip"] {
        assert!(told.contains(what), "{told}");
    }
    let help = text(&run(&["--help"]).stdout);
    for what in ["check-config", "convert-config", "doctor", "demo", "--config", "--janus-config"] {
        assert!(help.contains(what), "{help}");
    }
    assert_eq!(run(&["--unknown"]).status.code(), Some(2));
}

/// Its C libraries stay inside: another library that is loaded must not find their symbols.
#[test]
fn no_symbol_is_exported() {
    let Ok(nm) = Command::new("nm").args(["-D", "--defined-only", PROGRAM]).output() else {
        println!("skipped: no nm (binutils)");
        return;
    };
    assert!(nm.status.success());
    // A name with @ is a variable of a shared library that the linker copied into the program.
    let symbols = text(&nm.stdout);
    let own: Vec<&str> = symbols.lines().filter(|line| !line.contains('@')).collect();
    assert_eq!(own, Vec::<&str>::new());
}
