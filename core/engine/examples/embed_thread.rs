//! A worker on a plain thread of the host's.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bifrons_engine::driver::Driver;
use bifrons_engine::driver::mmsg::{Mmsg, MmsgConfig};
use bifrons_engine::{Worker, WorkerParts};

#[path = "echo/mod.rs"]
mod echo;

/// Turns a worker until `stop`.
fn host(driver: Mmsg, parts: WorkerParts<UdpSocket>, stop: &AtomicBool) {
    let mut worker = Worker::new(driver, parts);
    while !stop.load(Ordering::Relaxed) {
        worker.turn();
    }
}

/// Runs the example; how many packets came back.
pub fn run() -> usize {
    let mut assembled = echo::assemble();
    let (parts, clock) = (assembled.workers.remove(0), assembled.clock);
    let driver = Mmsg::new(MmsgConfig { sockets_max: 64 }, clock).expect("epoll and eventfd");
    let waker = driver.waker();
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let thread = std::thread::spawn(move || host(driver, parts, &stopped));
    let back = echo::round_trips(&mut assembled.engine);
    stop.store(true, Ordering::Relaxed);
    // A worker with nothing to do sleeps until somebody wakes it.
    waker.wake();
    thread.join().expect("the worker's thread ends by itself");
    back
}

#[allow(dead_code, reason = "the tests call run()")]
fn main() {
    println!("{} of 10 packets came back", run());
}
