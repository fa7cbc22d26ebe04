//! libFuzzer's program for the target `frame`; built by `ci/fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bifrons_fuzz::frame(data));
