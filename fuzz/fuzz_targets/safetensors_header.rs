//! Any bytes as a safetensors file: parsed, and if that succeeds every tensor read.
//!
//! A panic, an overflow, an out-of-bounds index or runaway memory is a finding; an error is not.

#![no_main]

use lapidary::io::safetensors::{StoredDType, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let file = match parse(bytes) {
        Ok(file) => file,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    for entry in file.tensors() {
        match (file.tensor(&entry.name), entry.dtype) {
            (Ok(tensor), StoredDType::Supported(_)) => {
                assert_eq!(tensor.bytes().len(), entry.n_bytes);
                assert_eq!(tensor.shape(), entry.shape);
                std::hint::black_box((tensor.to_f32().ok(), tensor.to_i32().ok(), tensor.words()));
            }
            (Err(_), StoredDType::Unsupported(_)) => {}
            (result, dtype) => panic!("{:?} of {dtype}: {result:?}", entry.name),
        }
    }
});
