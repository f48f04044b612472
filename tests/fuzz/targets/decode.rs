//! The decoder of ring-buffer samples: bytes are a sample or an error that is counted, the kernel's
//! padding changes nothing, and a shorter sample is none.
#![no_main]

use geofenced::inside::decode::{DecodeError, Sample, decode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let outcome = decode(bytes);
    match &outcome {
        Ok(Sample::Exec(exec)) => assert!(exec.filename_bytes as usize <= exec.filename.len()),
        Ok(_) => {}
        Err(error) => assert!(DecodeError::REASONS.contains(&error.reason())),
    }
    let padded = [bytes, &[0xa5; 8]].concat();
    if outcome.is_ok() {
        assert!(decode(&padded).is_ok(), "padding made it no sample");
        assert!(decode(&bytes[..15]).is_err(), "no sample is as short as this");
    }
});
