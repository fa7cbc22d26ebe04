//! A slot is given to one leg at a time, whatever crosses on the way between control side and worker.

use loom::sync::mpsc;
use loom::thread;

use super::check;
use crate::control::slots::Slots;
use crate::id::LegId;
use crate::leg::{InSlot, LegTable};

struct TestLeg(LegId);

impl InSlot for TestLeg {
    fn id(&self) -> LegId {
        self.0
    }
}

enum ToWorker {
    Open(LegId),
    Close(LegId),
    /// A command for a leg that was closed before it was sent.
    Stale(LegId),
    End,
}

/// Two legs in turn on a table of one slot. The worker loses the one it has at a moment of its own, as after
/// a fault, or never.
fn one_slot(loses: bool) {
    let (commands, told) = mpsc::channel();
    let (reports, heard) = mpsc::channel();
    let worker = thread::spawn(move || {
        let mut legs: LegTable<TestLeg> = LegTable::new(1);
        let mut lost = !loses;
        loop {
            match told.recv().unwrap() {
                ToWorker::Open(leg) => {
                    assert!(legs.insert(Box::new(TestLeg(leg))).is_ok(), "the slot was taken");
                }
                ToWorker::Close(leg) => {
                    if let Some(leg) = legs.remove(leg) {
                        reports.send(leg).unwrap();
                    }
                }
                ToWorker::Stale(leg) => assert!(legs.get(leg).is_none(), "a successor was found"),
                ToWorker::End => break,
            }
            if !std::mem::replace(&mut lost, true)
                && let Some(leg) = legs.at(0).map(|leg| leg.0).and_then(|leg| legs.remove(leg))
            {
                reports.send(leg).unwrap();
            }
        }
        assert_eq!(legs.len(), 0, "a leg was forgotten");
    });

    let mut slots = Slots::new(0, 1);
    let mut before = None;
    for _ in 0..2 {
        let leg = loop {
            if let Some(leg) = slots.take() {
                break leg;
            }
            slots.gone(heard.recv().unwrap().0);
        };
        commands.send(ToWorker::Open(leg)).unwrap();
        if let Some(before) = before.replace(leg) {
            commands.send(ToWorker::Stale(before)).unwrap();
        }
        assert_eq!(slots.open(), 1);
        // What is reported by now is heard before the leg is closed, or after: both happen.
        if let Ok(gone) = heard.try_recv() {
            slots.gone(gone.0);
        }
        assert!(slots.is_open(leg));
        if slots.close(leg).unwrap() {
            commands.send(ToWorker::Close(leg)).unwrap();
        }
        assert!(slots.close(leg).is_none());
    }
    commands.send(ToWorker::End).unwrap();
    worker.join().unwrap();
    while let Ok(gone) = heard.try_recv() {
        slots.gone(gone.0);
    }
    assert_eq!((slots.open(), slots.free()), (0, 1), "a slot was lost, or is free twice");
}

#[test]
fn a_slot_has_one_leg_at_a_time() {
    check(4, || one_slot(false));
}

#[test]
fn a_slot_whose_leg_the_worker_loses_has_one_leg_at_a_time() {
    check(4, || one_slot(true));
}
