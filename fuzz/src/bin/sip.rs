//! libFuzzer's program for the target `sip`; built by `ci/fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bifrons_fuzz::sip(data));
