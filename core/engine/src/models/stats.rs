//! Statistics have one writer, and a reader never sees a count go back.

use std::sync::Arc;

use loom::thread;

use super::check;
use crate::leg::{StreamShared, Word};

#[test]
fn no_count_goes_back_or_is_lost() {
    check(4, || {
        let shared = Arc::new(StreamShared::default());
        let writer = shared.clone();
        let worker = thread::spawn(move || {
            for _ in 0..3 {
                writer.add(Word::InPackets, 1);
            }
        });
        let first = shared.read().in_packets;
        let second = shared.read().in_packets;
        assert!(first <= second && second <= 3);
        worker.join().unwrap();
        assert_eq!(shared.read().in_packets, 3);
    });
}
