//! Symbols of the C libraries inside are not the program's own: none is exported.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-link-arg-bins=-Wl,--exclude-libs,ALL");
}
