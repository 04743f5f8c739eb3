//! Any bytes as a GGUF file: parsed, and if that succeeds every tensor decoded and repacked, and its tokenizer built.
//!
//! A panic, an overflow, an out-of-bounds index or runaway memory is a finding; an error is not.

#![no_main]

use lapidary::io::gguf::parse;
use lapidary::text::Tokenizer;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let file = match parse(bytes) {
        Ok(file) => file,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    if let Ok(tokenizer) = Tokenizer::from_gguf(file.metadata()) {
        std::hint::black_box(tokenizer.encode("Alice was", true).ok());
    }
    for tensor in file.tensors() {
        let decoded = file
            .decoded(&tensor.name)
            .expect("a checked tensor is decoded");
        assert_eq!(decoded.shape(), tensor.shape);
        if let Ok(matrix) = file.matrix(&tensor.name) {
            std::hint::black_box(matrix.dequantize());
        }
        std::hint::black_box(file.tensor(&tensor.name).ok());
    }
});
