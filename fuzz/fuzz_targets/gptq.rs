//! Any bytes as a GPTQ layer: sizes first, then words that its arrays repeat until they are as long as those sizes
//! call for, or one off.
//!
//! A panic, an overflow, an out-of-bounds index or runaway memory is a finding; an error is not.

#![no_main]

use lapidary::num::checkpoint::{GptqParts, GptqZeros, gptq};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((&[bits, n, k, group, how, off], rest)) = bytes.split_first_chunk::<6>() else {
        return;
    };
    let (words, _) = rest.as_chunks::<4>();
    let words: Vec<u32> = words.iter().map(|&word| u32::from_le_bytes(word)).collect();
    let array = |length: usize, bit: u8| -> Vec<u32> {
        let length = length + usize::from(off >> bit & 1);
        words.iter().copied().cycle().take(length).collect()
    };
    let [bits_wide, n_wide, k_wide, group_wide] = [bits, n, k, group].map(usize::from);
    let groups = if group == 0 { 1 } else { k_wide / group_wide };
    let scales: Vec<f32> = array(groups * n_wide, 0)
        .into_iter()
        .map(f32::from_bits)
        .collect();
    let index = |word: u32| (word % (groups as u32 + 1)) as i32 - i32::from(how >> 7);
    let g_idx: Vec<i32> = array(k_wide, 1).into_iter().map(index).collect();
    let qweight = array(k_wide * bits_wide / 32 * n_wide, 2);
    let qzeros = array(groups * (n_wide * bits_wide / 32), 3);
    let parts = GptqParts {
        bits: bits.into(),
        n: n_wide,
        k: k_wide,
        group_size: (group > 0).then_some(group_wide),
        qweight: &qweight,
        qzeros: &qzeros,
        zeros: if how & 1 == 0 {
            GptqZeros::MinusOne
        } else {
            GptqZeros::AsTheyAre
        },
        scales: &scales,
        g_idx: (how & 2 == 0).then_some(&g_idx),
    };
    match gptq("layer", &parts) {
        Ok(found) => {
            assert_eq!(found.matrix.dequantize().len(), parts.n * parts.k);
            if let Some(mut order) = found.order {
                order.sort_unstable();
                assert!(order.into_iter().eq(0..parts.k as u32));
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
