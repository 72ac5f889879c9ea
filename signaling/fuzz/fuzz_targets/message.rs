#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| signaling::ws::message::fuzz(data));
