//! A worker as a task of a tokio runtime.

use std::net::UdpSocket;
use std::os::fd::OwnedFd;

use bifrons_engine::driver::mmsg::{Mmsg, MmsgConfig};
use bifrons_engine::driver::{Clock, Driver};
use bifrons_engine::{Worker, WorkerParts};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

#[path = "echo/mod.rs"]
mod echo;

/// Turns a worker for as long as the task lives.
async fn host(parts: WorkerParts<UdpSocket>, clock: Clock) {
    let driver = Mmsg::new(MmsgConfig { sockets_max: 64 }, clock).expect("epoll and eventfd");
    let mut worker = Worker::new(driver, parts);
    let wake = descriptor(worker.wake_fd().expect("a descriptor is left"));
    turn(&mut worker, &wake).await;
}

/// The loop itself, for any driver.
async fn turn<D: Driver>(worker: &mut Worker<D>, wake: &AsyncFd<OwnedFd>) {
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

/// Runs the example; how many packets came back.
pub fn run() -> usize {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut assembled = echo::assemble();
    let (parts, clock) = (assembled.workers.remove(0), assembled.clock);
    runtime.block_on(async move {
        let engine = std::thread::spawn(move || echo::round_trips(&mut assembled.engine));
        let worker = tokio::task::LocalSet::new();
        worker.spawn_local(host(parts, clock));
        worker
            .run_until(async {
                while !engine.is_finished() {
                    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                }
            })
            .await;
        engine.join().expect("the engine's thread ends by itself")
    })
}

#[allow(dead_code, reason = "the tests call run()")]
fn main() {
    println!("{} of 10 packets came back", run());
}
