//! What is left of a spool's file.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| bellhop_ingress::spool::fuzzing::recovery(input));
