//! Any bytes as an AWQ layer: sizes first, then words that its arrays repeat until they are as long as those sizes call
//! for, or one off.
//!
//! A panic, an overflow, an out-of-bounds index or runaway memory is a finding; an error is not.

#![no_main]

use lapidary::num::checkpoint::{AwqParts, awq};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((&[n, k, group, off], rest)) = bytes.split_first_chunk::<4>() else {
        return;
    };
    let (words, _) = rest.as_chunks::<4>();
    let words: Vec<u32> = words.iter().map(|&word| u32::from_le_bytes(word)).collect();
    let array = |length: usize, bit: u8| -> Vec<u32> {
        let length = length + usize::from(off >> bit & 1);
        words.iter().copied().cycle().take(length).collect()
    };
    let [n, k, group] = [n, k, group].map(usize::from);
    let groups = if group == 0 { 1 } else { k / group };
    let scales: Vec<f32> = array(groups * n, 0)
        .into_iter()
        .map(f32::from_bits)
        .collect();
    let (qweight, qzeros) = (array(k * (n / 8), 1), array(groups * (n / 8), 2));
    let parts = AwqParts {
        n,
        k,
        group_size: (group > 0).then_some(group),
        qweight: &qweight,
        qzeros: &qzeros,
        scales: &scales,
    };
    match awq("layer", &parts) {
        Ok(matrix) => assert_eq!(matrix.dequantize().len(), n * k),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
