//! Damaged files by the ten thousand, through the listing and the reading of every pruned tensor.

use super::tests::{general_file, two_four_file};
use super::*;
use crate::io::safetensors::parse;
use crate::num::{Philox, Stream};

const N_MUTANTS: usize = 30_000;

/// Changes the header's digits or any byte of the data, mostly by little.
fn mutate(bytes: &mut [u8], stream: &mut Stream) {
    let data = bytes.iter().rposition(|&byte| byte == b'}').unwrap_or(0) + 1;
    let at = data + stream.below((bytes.len() - data) as u32) as usize;
    match stream.below(5) {
        0 | 1 => bytes[at] ^= 1 << stream.below(8),
        2 => {
            bytes[at] = bytes[at]
                .wrapping_add(stream.below(3) as u8)
                .wrapping_sub(1)
        }
        3 => {
            let from = data + stream.below((bytes.len() - data) as u32) as usize;
            bytes.swap(at, from);
        }
        _ => {
            let digits: Vec<usize> = (8..data).filter(|&i| bytes[i].is_ascii_digit()).collect();
            let digit = digits[stream.below(digits.len() as u32) as usize];
            bytes[digit] = b'0' + stream.below(10) as u8;
        }
    }
}

/// Reads everything; true if there is a pruned tensor and all are valid.
fn exercise(bytes: &[u8]) -> bool {
    let Ok(file) = parse(bytes) else {
        return false;
    };
    let listed = bitmask_tensors(file.tensors());
    let is_valid = |entry: &BitmaskEntry| match read_bitmask(&file, &entry.prefix) {
        Ok(tensor) => {
            // What was read stores the same values, or fewer where zeros were kept.
            let parts = bitmask_parts(&entry.prefix, &tensor, BitmaskFormat::General).unwrap();
            let (stored, _) = file
                .tensor_bytes(&format!("{}.compressed", entry.prefix))
                .unwrap();
            assert!(parts[1].1.bytes().len() <= stored.n_bytes);
            true
        }
        Err(error) => {
            let message = error.to_string();
            assert!(message.contains("tensor \""), "{message}");
            false
        }
    };
    !listed.is_empty() && listed.iter().all(is_valid)
}

#[test]
fn mutated_files_are_read_or_refused() {
    let seeds = [two_four_file(), general_file()];
    assert!(seeds.iter().all(|seed| exercise(seed)));
    let mut stream = Philox::new(0xB17_3A5C).stream(0);
    let mut n_valid = 0;
    for index in 0..N_MUTANTS {
        let mut bytes = seeds[index % seeds.len()].clone();
        (0..=stream.below(3)).for_each(|_| mutate(&mut bytes, &mut stream));
        n_valid += usize::from(exercise(&bytes));
    }
    // Both outcomes must be common, or the mutations test only one of them.
    assert!(
        (N_MUTANTS / 50..N_MUTANTS * 3 / 4).contains(&n_valid),
        "{n_valid} of {N_MUTANTS} are valid"
    );
}
