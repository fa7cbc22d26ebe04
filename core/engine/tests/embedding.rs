//! The examples of embedding, run.
#![allow(clippy::duplicate_mod, reason = "each example is a program of its own")]

#[path = "../examples/embed_thread.rs"]
mod embed_thread;
#[path = "../examples/embed_tokio.rs"]
mod embed_tokio;
#[path = "../examples/embed_tokio_uring.rs"]
mod embed_tokio_uring;

#[test]
fn a_plain_thread() {
    assert_eq!(embed_thread::run(), 10);
}

#[test]
fn a_tokio_task() {
    assert_eq!(embed_tokio::run(), 10);
}

#[test]
fn a_tokio_uring_task() {
    if let Some(back) = embed_tokio_uring::run() {
        assert_eq!(back, 10);
    }
}
