//! A worker with a ring of its own inside a tokio-uring runtime, which has another.

use std::net::UdpSocket;
use std::os::fd::OwnedFd;

use bifrons_engine::driver::Clock;
use bifrons_engine::driver::uring::{Uring, UringConfig};
use bifrons_engine::{Worker, WorkerParts};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

#[path = "echo/mod.rs"]
mod echo;

/// Turns a worker for as long as the task lives. Its ring is made on the thread that turns it.
async fn host(parts: WorkerParts<UdpSocket>, clock: Clock) {
    let driver = Uring::new(UringConfig { sockets_max: 64, hosted: true }, clock).expect("io_uring");
    let mut worker = Worker::new(driver, parts);
    let wake = descriptor(worker.wake_fd().expect("a descriptor is left"));
    loop {
        let next = worker.turn_ready();
        let now = worker.now();
        let sleep = next.map_or(std::time::Duration::from_secs(1), |at| at - now);
        tokio::select! {
            ready = wake.readable() => ready.expect("the runtime lives").clear_ready(),
            () = tokio::time::sleep(sleep) => {}
        }
    }
}

/// Registers the worker's descriptor with the runtime.
#[expect(deprecated, reason = "the descriptor is owned, so the safe call is sound")]
fn descriptor(fd: Option<OwnedFd>) -> AsyncFd<OwnedFd> {
    let fd = fd.expect("this driver has one");
    AsyncFd::with_interest(fd, Interest::READABLE).expect("epoll takes it")
}

/// Runs the example; how many packets came back. `None` where the kernel has no io_uring.
pub fn run() -> Option<usize> {
    if let Err(why) = bifrons_engine::driver::uring::probe() {
        println!("skipped: {why}");
        return None;
    }
    let mut assembled = echo::assemble();
    let (parts, clock) = (assembled.workers.remove(0), assembled.clock);
    Some(tokio_uring::start(async move {
        let engine = std::thread::spawn(move || echo::round_trips(&mut assembled.engine));
        let worker = tokio_uring::spawn(host(parts, clock));
        while !engine.is_finished() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        worker.abort();
        engine.join().expect("the engine's thread ends by itself")
    }))
}

#[allow(dead_code, reason = "the tests call run()")]
fn main() {
    if let Some(back) = run() {
        println!("{back} of 10 packets came back");
    }
}
