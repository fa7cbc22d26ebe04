//! Workers wake the control side once, however much there is, and never leave it asleep over a full ring.

use std::sync::Arc;

use loom::thread;

use super::{Ring, check};
use crate::signal::Signal;

/// Each worker pushes `messages`, each in a turn of its own; the control side sleeps until it has all.
fn all_are_taken(workers: usize, messages: usize) {
    let signal = Arc::new(Signal::new().unwrap());
    let rings: Vec<Ring> = (0..workers).map(|_| Ring::new()).collect();
    let threads: Vec<_> = rings
        .iter()
        .map(|ring| {
            let (ring, signal) = (ring.clone(), signal.clone());
            thread::spawn(move || {
                for _ in 0..messages {
                    ring.push();
                    signal.note();
                    signal.fire();
                }
            })
        })
        .collect();
    let all = || rings.iter().all(|ring| ring.taken() == messages);
    loop {
        signal.event().wait();
        signal.clear();
        if all() {
            break;
        }
        // It asks again before it sleeps, as it does for each notice.
        signal.clear();
        if all() {
            break;
        }
    }
    for thread in threads {
        thread.join().unwrap();
    }
    // Whoever waits on the descriptor turns once more at most, and not for ever.
    signal.clear();
    assert!(!signal.event().is_readable(), "the descriptor stays readable with nothing to take");
}

#[test]
fn one_worker_never_leaves_the_control_side_asleep() {
    check(4, || all_are_taken(1, 2));
}

#[test]
fn two_workers_never_leave_the_control_side_asleep() {
    check(3, || all_are_taken(2, 1));
}
