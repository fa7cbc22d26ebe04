//! Sockets in the server's network namespace, made by the generator's process.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A network namespace beside the one that the process was started in.
pub struct Netns {
    there: File,
    home: File,
}

impl Netns {
    /// The namespace that `ip netns` knows by this name.
    ///
    /// # Errors
    /// There is none.
    pub fn open(name: &str) -> io::Result<Self> {
        let there = File::open(Path::new("/run/netns").join(name))?;
        Ok(Self { there, home: File::open("/proc/thread-self/ns/net")? })
    }

    /// Does something there: sockets made and threads begun by `work` stay there.
    ///
    /// # Errors
    /// The calling thread is not allowed to go there, or cannot come back.
    pub fn within<T>(&self, work: impl FnOnce() -> T) -> io::Result<T> {
        let enter = |namespace: &File| {
            Ok(move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?)
        };
        enter(&self.there)?;
        let result = work();
        enter(&self.home).map(|()| result)
    }
}

/// Does something in a namespace, where there is one, else here.
///
/// # Errors
/// As [`Netns::within`].
pub fn within<T>(namespace: Option<&Netns>, work: impl FnOnce() -> T) -> Result<T, String> {
    match namespace {
        Some(namespace) => namespace.within(work).map_err(|error| format!("network namespace: {error}")),
        None => Ok(work()),
    }
}
