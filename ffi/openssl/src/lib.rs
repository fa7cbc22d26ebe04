//! What the `openssl` crate has no safe word for: DTLS retransmission on the caller's clock.
//!
//! OpenSSL times retransmissions by the clock of the system: `DTLSv1_handle_timeout` does nothing
//! before its own time is over, and reading retransmits by itself once it is. A protocol that is
//! given `now` needs neither. So [`hold_timer`] sets OpenSSL's timer an hour away, where it never
//! fires, [`is_waiting`] tells whether a flight is unanswered, and [`retransmit`] sends that flight
//! again when the caller says so.

use std::ffi::{c_int, c_long, c_uint};

use foreign_types_shared::ForeignTypeRef;
use openssl::error::ErrorStack;
use openssl::ssl::{SslContextBuilder, SslRef, SslStream};
use openssl_sys as sys;

/// Keeps OpenSSL from ever retransmitting by its own clock. Call it before the handshake starts.
pub fn hold_timer(ssl: &mut SslRef) {
    // SAFETY: the SSL is valid and its method is DTLS or the call has no effect; the callback has
    // the type that OpenSSL documents and is a function, so it outlives everything.
    unsafe { DTLS_set_timer_cb(ssl.as_ptr(), Some(an_hour)) }
}

/// Whether a flight was sent whose answer has not come.
pub fn is_waiting(ssl: &SslRef) -> bool {
    let mut left = libc::timeval { tv_sec: 0, tv_usec: 0 };
    // SAFETY: DTLSv1_get_timeout writes a timeval through the pointer, valid during the call, and
    // changes nothing in the SSL.
    unsafe { sys::SSL_ctrl(ssl.as_ptr(), DTLS_CTRL_GET_TIMEOUT, 0, (&raw mut left).cast()) == 1 }
}

/// Sends the last flight again, with new record sequence numbers (RFC 6347 §4.2.4).
///
/// Does nothing when no flight is unanswered.
pub fn retransmit<S>(stream: &mut SslStream<S>) -> Result<(), ErrorStack> {
    if !is_waiting(stream.ssl()) {
        return Ok(());
    }
    // SAFETY: this is the function that DTLSv1_handle_timeout ends with once the time is over. It
    // takes an SSL_CONNECTION, which is what every SSL that is not QUIC points to (its first field
    // is the SSL); the exclusive borrow of the stream makes the call the only one. That a flight is waiting means that it is a DTLS connection with its state.
    // The version is pinned to the vendored 3.5.5, so name and meaning are fixed; the test below
    // and every lossy handshake in the tests of bifrons-rtc would notice a change.
    let sent = unsafe { dtls1_retransmit_buffered_messages(stream.ssl().as_ptr()) };
    if sent > 0 { Ok(()) } else { Err(ErrorStack::get()) }
}

/// Bounds the memory of one incoming handshake message, and by that the reassembly buffers.
///
/// OpenSSL never goes below 16 KiB, and its default is 100 KiB; it holds at most ten messages.
pub fn set_handshake_message_len_max(context: &mut SslContextBuilder, bytes: u16) {
    // SAFETY: SSL_CTX_set_max_cert_list is this control and takes a plain number.
    unsafe {
        sys::SSL_CTX_ctrl(
            context.as_ptr(),
            SSL_CTRL_SET_MAX_CERT_LIST,
            c_long::from(bytes),
            std::ptr::null_mut(),
        );
    }
}

const DTLS_CTRL_GET_TIMEOUT: c_int = 73;
const SSL_CTRL_SET_MAX_CERT_LIST: c_int = 51;

/// The timer callback: given the last duration, the next one, both in microseconds.
type TimerCallback = unsafe extern "C" fn(*mut sys::SSL, c_uint) -> c_uint;

unsafe extern "C" fn an_hour(_ssl: *mut sys::SSL, _last_us: c_uint) -> c_uint {
    3_600_000_000
}

unsafe extern "C" {
    fn DTLS_set_timer_cb(ssl: *mut sys::SSL, callback: Option<TimerCallback>);
    fn dtls1_retransmit_buffered_messages(connection: *mut sys::SSL) -> c_int;
}

#[cfg(test)]
mod tests {
    use std::io::{self, Read, Write};

    use openssl::ssl::{ErrorCode, Ssl, SslContext, SslMethod, SslOptions};

    use super::*;

    #[derive(Debug, Default)]
    struct Sent(Vec<Vec<u8>>);

    impl Read for Sent {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::WouldBlock.into())
        }
    }

    impl Write for Sent {
        fn write(&mut self, datagram: &[u8]) -> io::Result<usize> {
            self.0.push(datagram.to_vec());
            Ok(datagram.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_flight_is_sent_again_at_once_and_only_when_asked() {
        let mut context = SslContext::builder(SslMethod::dtls()).unwrap();
        context.set_options(SslOptions::NO_QUERY_MTU);
        set_handshake_message_len_max(&mut context, 16_384);
        let mut ssl = Ssl::new(&context.build()).unwrap();
        ssl.set_mtu(1200).unwrap();
        ssl.set_connect_state();
        hold_timer(&mut ssl);
        let mut stream = SslStream::new(ssl, Sent::default()).unwrap();
        assert!(!is_waiting(stream.ssl()));
        for _ in 0..5 {
            assert_eq!(stream.do_handshake().unwrap_err().code(), ErrorCode::WANT_READ);
        }
        assert!(is_waiting(stream.ssl()));
        let hello = stream.get_ref().0.clone();
        assert_eq!(hello.len(), 1, "reading alone does not retransmit");
        for n in 1..4 {
            retransmit(&mut stream).unwrap();
            let sent = &stream.get_ref().0;
            assert_eq!(sent.len(), n + 1);
            assert_eq!(sent[n][13..], hello[0][13..], "the same message");
            assert_ne!(sent[n][..13], hello[0][..13], "in a new record");
        }
    }
}
