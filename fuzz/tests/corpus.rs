//! Every target over its corpus, whole and cut short: what a fuzzer once found stays found.

use std::fs;
use std::path::Path;

fn run(name: &str) {
    let (_, target) = bifrons_fuzz::TARGETS.iter().find(|(own, _)| *own == name).expect("a target");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let mut inputs = 0;
    for entry in fs::read_dir(&folder).expect("a corpus") {
        let input = fs::read(entry.expect("an entry").path()).expect("a readable input");
        target(&input);
        let step = (input.len() / 64).max(1);
        for len in (0..input.len()).step_by(step) {
            target(&input[..len]);
            let mut flipped = input.clone();
            flipped[len] ^= 1 << (len % 8);
            target(&flipped);
        }
        inputs += 1;
    }
    assert!(inputs > 0, "{} is empty", folder.display());
}

#[test]
fn stun() {
    run("stun");
}

#[test]
fn rtp() {
    run("rtp");
}

#[test]
fn rtcp() {
    run("rtcp");
}

#[test]
fn sdp() {
    run("sdp");
}

#[test]
fn sip() {
    run("sip");
}

#[test]
fn link() {
    run("link");
}

#[test]
fn frame() {
    run("frame");
}

#[test]
fn well_formed_sdp_round_trips_exactly() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/sdp");
    let mut compared = 0;
    for entry in fs::read_dir(folder).expect("a corpus") {
        let path = entry.expect("an entry").path();
        // The seeds have names; what a fuzzer found has not, and need not be well-formed.
        if path.extension().is_none_or(|extension| extension != "sdp") {
            continue;
        }
        let text = fs::read_to_string(&path).expect("a readable input");
        let sdp = bifrons_wire::sdp::Sdp::parse(&text).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        assert_eq!(sdp.to_string(), text.replace("\r\n", "\n").replace('\n', "\r\n"), "{path:?}");
        compared += 1;
    }
    assert!(compared >= 8);
}
