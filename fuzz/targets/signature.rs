//! A signature header and the body under it.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| bellhop_reservation_system::fuzzing::signature(input));
