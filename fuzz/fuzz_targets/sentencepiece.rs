//! Any bytes as a `tokenizer.model`: read, and if that succeeds a text encoded and decoded.
//!
//! A panic, an overflow, an out-of-bounds index or runaway memory is a finding; an error is not.

#![no_main]

use lapidary::io::hf::SpecialTokens;
use lapidary::text::Tokenizer;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let tokenizer = match Tokenizer::from_sentencepiece(bytes, &SpecialTokens::default()) {
        Ok(tokenizer) => tokenizer,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    if let Ok(tokens) = tokenizer.encode("Alice  was \u{e9}\u{1f600}\n\u{fb01}ABC", true) {
        tokenizer
            .decode(&tokens)
            .expect("its own tokens are a text");
    }
});
