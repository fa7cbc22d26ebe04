//! Refuses a build in which libsrtp would not use the vendored OpenSSL.
//!
//! `srtp2-sys` takes its headers from `DEP_OPENSSL_INCLUDE`, the same variables that this script
//! sees; headers of one OpenSSL and the library of another would be a silent mismatch.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=DEP_OPENSSL_VENDORED");
    let vendored = std::env::var("DEP_OPENSSL_VENDORED").unwrap_or_default();
    let version = std::env::var("DEP_OPENSSL_VERSION_NUMBER").unwrap_or_default();
    assert_eq!(vendored, "1", "libsrtp must be built with the vendored OpenSSL; unset OPENSSL_NO_VENDOR");
    assert!(
        version.starts_with("3050"),
        "libsrtp must be built with OpenSSL 3.5, but the headers are of {version}"
    );
}
