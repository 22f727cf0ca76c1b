#![no_main]
#![allow(dead_code, reason = "each target uses one law")]

#[path = "../../tests/laws/mod.rs"]
mod laws;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    laws::streaming(data);
});
