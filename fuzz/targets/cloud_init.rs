//! A tenant's key, and the cloud-config of a site.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| bellhop_provisioner::baremetalhost::user_data::fuzzing::cloud_init(input));
