//! An allocator that counts what the watched parts of a thread allocate and free.

use std::alloc::{GlobalAlloc, Layout, System};
use std::backtrace::Backtrace;
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    static WATCHED: Cell<bool> = const { Cell::new(false) };
}

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static FREES: AtomicU64 = AtomicU64::new(0);
/// Where the first one was, for the message of a test that fails.
static FIRST: Mutex<Option<String>> = Mutex::new(None);

/// What was counted.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Counted {
    pub allocations: u64,
    pub frees: u64,
}

/// Whether this thread is watched from now on.
pub fn watch(watched: bool) {
    WATCHED.with(|cell| cell.set(watched));
}

/// The counters belong to one test at a time.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What all threads allocated and freed while they were watched since this was last asked, and where the
/// first time was.
pub fn take_counted() -> (Counted, Option<String>) {
    let counted = Counted {
        allocations: ALLOCATIONS.swap(0, Ordering::SeqCst),
        frees: FREES.swap(0, Ordering::SeqCst),
    };
    (counted, FIRST.lock().unwrap().take())
}

fn note(counter: &AtomicU64) {
    if !WATCHED.with(Cell::get) {
        return;
    }
    counter.fetch_add(1, Ordering::SeqCst);
    // A backtrace allocates too.
    WATCHED.with(|cell| cell.set(false));
    let mut first = FIRST.lock().unwrap();
    if first.is_none() {
        *first = Some(Backtrace::force_capture().to_string());
    }
    drop(first);
    WATCHED.with(|cell| cell.set(true));
}

// SAFETY: everything is handed to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(&ALLOCATIONS);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(&ALLOCATIONS);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        note(&FREES);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(&ALLOCATIONS);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}
