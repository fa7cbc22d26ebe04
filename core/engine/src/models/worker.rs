//! Whoever fills a ring of a worker wakes it, from its first turn on.

use std::sync::Arc;

use loom::thread;

use super::{Ring, check};
use crate::driver::DriverWaker;
use crate::sync::EventFd;
use crate::wake::WakerCell;
use crate::worker_set::{SharedWorkerSet, WorkerSet};

/// A worker that begins, and sleeps in its driver until `turn` says that all has come.
fn worker(cell: &WakerCell, mut turn: impl FnMut() -> bool) {
    let event = Arc::new(EventFd::new().unwrap());
    let wakes = event.clone();
    cell.set(DriverWaker::new(move || wakes.signal()));
    while !turn() {
        event.wait();
        event.clear();
    }
}

#[test]
fn commands_are_taken_even_by_a_worker_that_just_begins() {
    check(4, || {
        let (cell, ring) = (Arc::new(WakerCell::default()), Ring::new());
        let (their_cell, their_ring) = (cell.clone(), ring.clone());
        let thread = thread::spawn(move || worker(&their_cell, || their_ring.taken() == 2));
        for _ in 0..2 {
            ring.push();
            cell.wake();
        }
        thread.join().unwrap();
    });
}

#[test]
fn packets_of_two_workers_are_taken_though_one_of_them_wakes() {
    check(3, || {
        let cell = Arc::new(WakerCell::default());
        let flags = Arc::new(SharedWorkerSet::default());
        let rings = [Ring::new(), Ring::new()];
        let threads = [0u8, 1].map(|number| {
            let (cell, flags, ring) = (cell.clone(), flags.clone(), rings[usize::from(number)].clone());
            thread::spawn(move || {
                ring.push();
                if flags.insert(number) {
                    cell.wake();
                }
            })
        });
        // Only the rings of those are looked at that are in the set.
        let mut taken = [0, 0];
        worker(&cell, || {
            let mut pending = WorkerSet::default();
            flags.take_into(&mut pending);
            for number in pending.drain().map(usize::from) {
                taken[number] = rings[number].taken();
            }
            taken == [1, 1]
        });
        for thread in threads {
            thread.join().unwrap();
        }
    });
}
