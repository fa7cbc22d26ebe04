//! The calling thread's core and scheduling class, and the process's descriptors.

/// Pins the calling thread to one core.
pub fn pin_to_core(core: usize) -> std::io::Result<()> {
    if core >= libc::CPU_SETSIZE as usize {
        return Err(std::io::Error::other(format!("core {core} is beyond {}", libc::CPU_SETSIZE)));
    }
    // SAFETY: an all-zero cpu_set_t is an empty set; `core` is below CPU_SETSIZE; the set outlives
    // the call and its size is given.
    let result = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set)
    };
    if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// Puts the calling thread into SCHED_FIFO with a priority of 1–99.
pub fn schedule_fifo(priority: i32) -> std::io::Result<()> {
    let param = libc::sched_param { sched_priority: priority };
    // SAFETY: `param` outlives the call; 0 is the calling thread.
    let result = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &param) };
    if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// Sets the calling thread's nice value (on Linux it belongs to the thread, setpriority(2)).
pub fn set_nice(nice: i32) -> std::io::Result<()> {
    // SAFETY: three integers; 0 is the calling thread.
    let result = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) };
    if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// Raises the process's limit of open descriptors as far as it may, and gives it.
pub fn raise_descriptor_limit() -> std::io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` outlives both calls.
    let result = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    if result != 0 {
        return Err(std::io::Error::last_os_error());
    }
    let before = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: as above.
    let result = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    Ok(if result == 0 { limit.rlim_max } else { before })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_descriptor_limit_is_at_its_hard_limit() {
        let limit = raise_descriptor_limit().unwrap();
        assert!(limit > 16);
        assert_eq!(raise_descriptor_limit().unwrap(), limit);
    }

    #[test]
    fn a_core_that_is_not_there_is_an_error() {
        std::thread::spawn(|| {
            assert!(pin_to_core(1 << 20).is_err());
            // Raising the nice value is always allowed.
            set_nice(5).unwrap();
        })
        .join()
        .unwrap();
    }
}
