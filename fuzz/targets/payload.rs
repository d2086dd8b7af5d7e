//! The body of a webhook.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| bellhop_reservation_system::fuzzing::payload(input));
