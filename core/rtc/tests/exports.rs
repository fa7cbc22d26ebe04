//! A program with OpenSSL and libsrtp inside shows neither to the libraries that it loads.

use std::process::Command;

use bifrons_rtc::dtls::Certificate;
use bifrons_rtc::srtp::{Backend, MasterKey, Outbound, Profile};

#[test]
fn no_symbol_is_exported() {
    // So that both libraries are linked in.
    Certificate::generate().unwrap();
    let key = MasterKey::generate(Profile::AeadAes128Gcm).unwrap();
    Outbound::new(Backend::Libsrtp, &key).unwrap();

    let program = std::env::current_exe().unwrap();
    let Ok(nm) = Command::new("nm").args(["-D", "--defined-only"]).arg(&program).output() else {
        println!("skipped: no nm (binutils)");
        return;
    };
    assert!(nm.status.success());
    assert_eq!(String::from_utf8_lossy(&nm.stdout), "");
}
