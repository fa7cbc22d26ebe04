//! The library's log on standard error: one line an event, a bounded number a second.

use std::cell::Cell;
use std::ffi::{c_char, c_void};
use std::panic::catch_unwind;
use std::ptr;

use crate::{clock, sys};

/// Lines a second; more are counted and their number printed with the next second's first line.
const LINES_PER_S_MAX: u32 = 20;

thread_local! {
    static SECOND: Cell<u64> = const { Cell::new(0) };
    static LINES: Cell<u32> = const { Cell::new(0) };
    static SUPPRESSED: Cell<u64> = const { Cell::new(0) };
}

/// Sends the library's log here.
pub(crate) fn redirect() {
    // SAFETY: a null log is the library's default one.
    unsafe { sys::su_log_redirect(ptr::null_mut(), Some(on_log), ptr::null_mut()) };
}

/// Prints one line, if this second has room for it.
pub(crate) fn line(text: &str) {
    let second = clock::steady_ms() / 1000;
    if SECOND.replace(second) != second {
        LINES.set(0);
        let suppressed = SUPPRESSED.take();
        if suppressed > 0 {
            eprintln!("bifrons-sip: {suppressed} lines were not printed");
        }
    }
    if LINES.get() >= LINES_PER_S_MAX {
        SUPPRESSED.set(SUPPRESSED.get() + 1);
        return;
    }
    LINES.set(LINES.get() + 1);
    let text: String = text.trim_end().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    eprintln!("bifrons-sip: {text}");
}

unsafe extern "C" fn on_log(_stream: *mut c_void, format: *const c_char, arguments: *mut c_void) {
    let mut buffer = [0u8; 512];
    if format.is_null() {
        return;
    }
    // SAFETY: the buffer has the length given; format and arguments are the library's own.
    let len = unsafe { sys::vsnprintf(buffer.as_mut_ptr().cast(), buffer.len(), format, arguments) };
    let len = usize::try_from(len).unwrap_or(0).min(buffer.len() - 1);
    let _ = catch_unwind(|| {
        let text = String::from_utf8_lossy(&buffer[..len]);
        if !text.trim().is_empty() {
            line(&text);
        }
    });
}
