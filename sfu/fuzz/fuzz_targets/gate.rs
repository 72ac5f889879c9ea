#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::gate_target(data));
