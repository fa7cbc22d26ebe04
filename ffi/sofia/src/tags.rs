//! Tag lists: how Sofia-SIP takes optional arguments.

use std::ffi::{CStr, CString, c_void};

use crate::sys::{tag_type_s, tag_value_t, tagi_t};

/// A tag list that owns its strings. Every variadic function of the library is called with exactly two
/// variadic arguments, `tag_next` and [`Tags::list`], which does not depend on how C passes more.
pub(crate) struct Tags {
    items: Vec<tagi_t>,
    strings: Vec<CString>,
}

impl Tags {
    pub(crate) fn new() -> Tags {
        Tags { items: Vec::new(), strings: Vec::new() }
    }

    /// Adds a number or a flag.
    pub(crate) fn int(mut self, tag: *const tag_type_s, value: impl Into<i64>) -> Tags {
        self.items.push(tagi_t { t_tag: tag, t_value: value.into() as tag_value_t });
        self
    }

    /// Adds a string, which lives as long as the list.
    pub(crate) fn string(mut self, tag: *const tag_type_s, value: &CString) -> Tags {
        let value = value.clone();
        self.items.push(tagi_t { t_tag: tag, t_value: value.as_ptr() as tag_value_t });
        self.strings.push(value);
        self
    }

    /// Adds a string whose pointer the library keeps beyond the call.
    pub(crate) fn lasting(mut self, tag: *const tag_type_s, value: &'static CStr) -> Tags {
        self.items.push(tagi_t { t_tag: tag, t_value: value.as_ptr() as tag_value_t });
        self
    }

    /// Adds a pointer that the caller keeps valid.
    pub(crate) fn pointer(mut self, tag: *const tag_type_s, value: *mut c_void) -> Tags {
        self.items.push(tagi_t { t_tag: tag, t_value: value as tag_value_t });
        self
    }

    /// The list, ended; for the second variadic argument.
    pub(crate) fn list(&mut self) -> tag_value_t {
        self.items.push(tagi_t { t_tag: std::ptr::null(), t_value: 0 });
        self.items.as_ptr() as tag_value_t
    }
}

/// A C string of bytes that hold no NUL.
pub(crate) fn c_string(bytes: impl Into<Vec<u8>>) -> Option<CString> {
    CString::new(bytes).ok()
}
