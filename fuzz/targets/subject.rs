//! Names as subject tokens, and back.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| bellhop_event_store::fuzzing::subject(input));
