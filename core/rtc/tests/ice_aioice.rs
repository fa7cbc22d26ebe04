//! Our agent against aioice (Python), over loopback sockets. Needs `python3` with `aioice`: in
//! `$BIFRONS_AIOICE_PYTHON`, else in the virtual environment `aioice` of the target directory.

mod peer;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use bifrons_rtc::ice::Role;
use peer::{Peer, until};

/// The Python process; ended with the test.
struct Aioice {
    process: Child,
    input: ChildStdin,
    output: Receiver<String>,
}

fn python() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    std::env::var_os("BIFRONS_AIOICE_PYTHON").map_or_else(|| target.join("aioice/bin/python"), PathBuf::from)
}

impl Aioice {
    fn start(controlling: bool, told: bool) -> Option<Aioice> {
        let python = python();
        let probe = Command::new(&python).args(["-c", "import aioice"]).stderr(Stdio::null()).status();
        if !probe.is_ok_and(|status| status.success()) {
            eprintln!("skipped: no aioice for {} (python3 -m venv; pip install aioice)", python.display());
            return None;
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/aioice_peer.py");
        let flag = |set: bool| if set { "1" } else { "0" };
        let mut process = Command::new(python)
            .arg(script)
            .args([flag(controlling), flag(told)])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = process.stdin.take().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let (sender, output) = channel();
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Some(Aioice { process, input, output })
    }

    fn say(&mut self, line: &str) {
        writeln!(self.input, "{line}").unwrap();
    }

    /// Runs our side until a line comes; its words.
    fn hear(&self, ours: &mut Peer, verb: &str) -> Vec<String> {
        let mut heard = None;
        until(verb, || {
            ours.turn();
            heard = self.output.try_recv().ok();
            heard.is_some()
        });
        let words: Vec<String> = heard.unwrap().split(' ').map(str::to_owned).collect();
        assert_eq!(words[0], verb, "{words:?}");
        words
    }
}

impl Drop for Aioice {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Connects and sends both ways; then restarts towards a second process, as a page that reloads does
/// (aioice itself cannot restart), and does so again. The old path lives until the new one is there.
fn run(role: Role, lite: bool, told: bool) {
    let mut ours = Peer::new(role, lite);
    let mut peers = vec![];
    for generation in 1..=2 {
        let Some(mut theirs) = Aioice::start(role == Role::Controlled, told) else { return };
        if generation == 2 {
            ours.restart();
            assert!(ours.agent.selected().is_some());
        }
        let local = theirs.hear(&mut ours, "local");
        let candidates: Vec<String> = match &local[3..].join(" ") {
            all if all.is_empty() => vec![],
            all => all.split('|').map(|line| format!("candidate:{line}")).collect(),
        };
        ours.set_remote(&local[1], &local[2], false, &candidates);
        let credentials = ours.agent.local_credentials();
        let lines = ours.candidates().join("|").replace("candidate:", "");
        let remote =
            format!("remote {} {} {} {lines}", credentials.ufrag(), credentials.password(), u8::from(lite));
        theirs.say(&remote);
        theirs.hear(&mut ours, "connected");
        until("selected", || {
            ours.turn();
            ours.is_connected(generation)
        });
        ours.send(b"hello");
        assert_eq!(theirs.hear(&mut ours, "received")[1], "hello");
        theirs.say("send \u{7f}answer");
        until("answer", || {
            ours.turn();
            ours.received.pop().is_some_and(|datagram| datagram == "\u{7f}answer".as_bytes())
        });
        peers.push(theirs);
    }
}

#[test]
fn controlled() {
    run(Role::Controlled, false, true);
}

#[test]
fn controlling() {
    run(Role::Controlling, false, true);
}

#[test]
fn lite() {
    run(Role::Controlled, true, true);
}

#[test]
fn peer_reflexive_only() {
    run(Role::Controlling, false, false);
}
