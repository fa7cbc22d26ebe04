use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::fmt;
use std::sync::OnceLock;

/// What a C pointer points to that is never looked into here.
pub(crate) type Opaque = *mut c_void;

/// `NiceAgentRecvFunc`.
pub(crate) type ReceiveFn = unsafe extern "C" fn(Opaque, c_uint, c_uint, c_uint, *const c_char, Opaque);
/// `StunMessageIntegrityValidate`.
pub(crate) type ValidateFn =
    unsafe extern "C" fn(Opaque, Opaque, *mut u8, u16, *mut *mut u8, *mut usize, Opaque) -> bool;

/// libnice, glib and gobject, opened. There is one in a process; it is never closed.
pub struct Nice {
    pub(crate) symbols: Symbols,
}

/// A library or one of its functions is absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadError(&'static str);

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is not installed (Debian: libnice10)", self.0)
    }
}

impl std::error::Error for LoadError {}

impl Nice {
    /// Opens the libraries, once.
    pub fn load() -> Result<&'static Nice, LoadError> {
        static NICE: OnceLock<Result<Nice, LoadError>> = OnceLock::new();
        NICE.get_or_init(|| Symbols::load().map(|symbols| Nice { symbols })).as_ref().map_err(|error| *error)
    }
}

/// Declares the functions with their C types and loads them by name.
macro_rules! symbols {
    ($($library:literal { $(fn $name:ident($($argument:ty),* $(,)?) $(-> $result:ty)?;)* })*) => {
        #[derive(Clone, Copy)]
        pub(crate) struct Symbols {
            $($(pub(crate) $name: unsafe extern "C" fn($($argument),*) $(-> $result)?,)*)*
            /// `g_object_set` with one property of type gboolean or guint and the ending NULL.
            pub(crate) g_object_set:
                unsafe extern "C" fn(Opaque, *const c_char, ...),
        }

        impl Symbols {
            fn load() -> Result<Symbols, LoadError> {
                let gobject = open(c"libgobject-2.0.so.0").ok_or(LoadError("libgobject-2.0.so.0"))?;
                let g_object_set = symbol(gobject, c"g_object_set").ok_or(LoadError("g_object_set"))?;
                $(
                    let library = open($library).ok_or(LoadError(stringify!($library)))?;
                    $(
                        let name = concat!(stringify!($name), "\0");
                        let name = CStr::from_bytes_with_nul(name.as_bytes()).unwrap_or_default();
                        let $name = symbol(library, name).ok_or(LoadError(stringify!($name)))?;
                        // SAFETY: the function of this name has these C types in the library's headers,
                        // and the library is never closed.
                        let $name = unsafe {
                            std::mem::transmute::<Opaque, unsafe extern "C" fn($($argument),*) $(-> $result)?>($name)
                        };
                    )*
                )*
                // SAFETY: as above; its first two arguments are fixed, the others variadic.
                let g_object_set = unsafe {
                    std::mem::transmute::<Opaque, unsafe extern "C" fn(Opaque, *const c_char, ...)>(g_object_set)
                };
                Ok(Symbols { $($($name,)*)* g_object_set })
            }
        }
    };
}

symbols! {
    c"libglib-2.0.so.0" {
        fn g_main_context_new() -> Opaque;
        fn g_main_context_iteration(Opaque, c_int) -> c_int;
        fn g_main_context_unref(Opaque);
        fn g_free(Opaque);
    }
    c"libgobject-2.0.so.0" {
        fn g_object_unref(Opaque);
    }
    c"libnice.so.10" {
        fn nice_agent_new_full(Opaque, c_uint, c_uint) -> Opaque;
        fn nice_address_new() -> Opaque;
        fn nice_address_set_from_string(Opaque, *const c_char) -> c_int;
        fn nice_address_free(Opaque);
        fn nice_agent_add_local_address(Opaque, Opaque) -> c_int;
        fn nice_agent_add_stream(Opaque, c_uint) -> c_uint;
        fn nice_agent_set_stream_name(Opaque, c_uint, *const c_char) -> c_int;
        fn nice_agent_attach_recv(Opaque, c_uint, c_uint, Opaque, ReceiveFn, Opaque) -> c_int;
        fn nice_agent_gather_candidates(Opaque, c_uint) -> c_int;
        fn nice_agent_generate_local_sdp(Opaque) -> *mut c_char;
        fn nice_agent_parse_remote_sdp(Opaque, *const c_char) -> c_int;
        fn nice_agent_get_component_state(Opaque, c_uint, c_uint) -> c_uint;
        fn nice_agent_send(Opaque, c_uint, c_uint, c_uint, *const c_char) -> c_int;
        fn nice_agent_restart(Opaque) -> c_int;
        fn stun_agent_init(Opaque, *const u16, c_uint, c_uint);
        fn stun_agent_validate(Opaque, Opaque, *const u8, usize, Option<ValidateFn>, Opaque) -> c_uint;
        fn stun_usage_ice_conncheck_create(
            Opaque, Opaque, *mut u8, usize, *const u8, usize, *const u8, usize,
            bool, bool, u32, u64, *const c_char, c_uint,
        ) -> usize;
        fn stun_usage_ice_conncheck_create_reply(
            Opaque, Opaque, Opaque, *mut u8, *mut usize, *const libc::sockaddr_storage, libc::socklen_t,
            *mut bool, u64, c_uint,
        ) -> c_uint;
    }
}

fn open(name: &CStr) -> Option<Opaque> {
    // SAFETY: `name` ends with NUL. The libraries' constructors have no requirements; RTLD_LOCAL keeps
    // their symbols away from everybody else.
    let library = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
    (!library.is_null()).then_some(library)
}

fn symbol(library: Opaque, name: &CStr) -> Option<Opaque> {
    // SAFETY: `library` was opened and is never closed, `name` ends with NUL.
    let symbol = unsafe { libc::dlsym(library, name.as_ptr()) };
    (!symbol.is_null()).then_some(symbol)
}
