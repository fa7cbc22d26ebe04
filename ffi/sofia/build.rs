//! Finds Debian's Sofia-SIP and exports the gate's three functions, and nothing else, from the program.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if let Err(error) = pkg_config::Config::new().atleast_version("1.12.11").probe("sofia-sip-ua") {
        eprintln!("{error}");
        eprintln!(
            "\nbifrons-sip needs the Sofia-SIP library. On Debian and Ubuntu:\n\n    \
             apt-get install libsofia-sip-ua-dev pkg-config\n"
        );
        std::process::exit(1);
    }
    for symbol in ["recvmsg", "sendmsg", "bind"] {
        println!("cargo:rustc-link-arg=-Wl,--export-dynamic-symbol={symbol}");
    }
    println!("cargo:rustc-link-arg=-Wl,--exclude-libs,ALL");
}
