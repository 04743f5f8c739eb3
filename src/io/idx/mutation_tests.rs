//! Damaged files by the ten thousand: valid ones with a few seeded mutations each. A plain file must
//! be read exactly as a second, simpler reader reads it, or be refused; a compressed one must never
//! panic and never give more data than its header announces.

use super::tests::{file_of, gzip};
use super::*;
use crate::num::{Philox, Stream};

const N_MUTANTS: usize = 40_000;

fn mutate(bytes: &mut Vec<u8>, random: &mut Stream) {
    let mut below = |limit: usize| random.below(limit.max(1) as u32) as usize;
    let at = below(bytes.len());
    match below(6) {
        0 if !bytes.is_empty() => bytes[at] ^= 1 << below(8),
        1 if !bytes.is_empty() => bytes[at] = below(256) as u8,
        2 => bytes.truncate(at),
        3 => bytes.insert(at, below(256) as u8),
        4 => {
            let end = (at + below(4)).min(bytes.len());
            bytes.drain(at..end);
        }
        // The header is 4 to 16 bytes of the file: reach it often.
        _ => {
            let at = below(16.min(bytes.len()));
            if let Some(byte) = bytes.get_mut(at) {
                *byte = below(16) as u8;
            }
        }
    }
}

/// The format once more, in as few words as it takes; `None` for anything wrong.
fn reference(bytes: &[u8]) -> Option<(DType, Vec<usize>, &[u8])> {
    let [0, 0, code, n, rest @ ..] = bytes else {
        return None;
    };
    let dtype = dtype(*code)?;
    let (words, data) = rest.split_at_checked(4 * usize::from(*n))?;
    let shape: Vec<usize> = words
        .chunks(4)
        .map(|word| {
            word.iter()
                .fold(0, |all, &byte| all << 8 | usize::from(byte))
        })
        .collect();
    // Zeros count as one where a product must not overflow, as in `tensor::n_elements`.
    let product = shape
        .iter()
        .try_fold(dtype.bytes(), |all, &n| all.checked_mul(n.max(1)))?;
    let length = if shape.contains(&0) { 0 } else { product };
    ((1..=8).contains(n) && length == data.len()).then_some((dtype, shape, data))
}

#[test]
fn mutated_files_are_read_as_the_reference_reads_them_or_refused() {
    let seeds = [
        file_of(8, &[2, 3, 2], &(0..12).collect::<Vec<u8>>()),
        file_of(8, &[5], &[9, 0, 3, 1, 2]),
        file_of(0x0d, &[1, 2], &1.5f32.to_be_bytes().repeat(2)),
        file_of(0x0b, &[0], &[]),
    ];
    let mut random = Philox::new(0x1d8).stream(0);
    let mut n_valid = 0;
    for index in 0..N_MUTANTS {
        let mut bytes = seeds[index % seeds.len()].clone();
        (0..=random.below(3)).for_each(|_| mutate(&mut bytes, &mut random));
        if bytes.starts_with(&[0x1f, 0x8b]) {
            continue;
        }
        match (parse_idx(&bytes), reference(&bytes)) {
            (Ok(tensor), Some((dtype, shape, data))) => {
                n_valid += 1;
                assert_eq!((tensor.dtype(), tensor.shape()), (dtype, &shape[..]));
                let turned: Vec<u8> = data
                    .chunks(dtype.bytes())
                    .flat_map(|element| element.iter().rev().copied())
                    .collect();
                assert_eq!(tensor.bytes(), turned);
            }
            (Err(error), None) => {
                let message = error.to_string();
                assert!(message.len() < 500 && !message.contains('\n'), "{message}");
            }
            (result, expected) => panic!("{bytes:02x?}: {result:?} instead of {expected:?}"),
        }
    }
    // Both outcomes must be common, or the mutations test only one of them.
    assert!(
        (N_MUTANTS / 50..N_MUTANTS / 2).contains(&n_valid),
        "{n_valid} of {N_MUTANTS} are valid"
    );
}

#[test]
fn mutated_compressed_files_are_read_unchanged_or_refused() {
    let plain = file_of(8, &[40, 4], &(0..160).collect::<Vec<u8>>());
    let whole = gzip(&plain);
    let expected = parse_idx(&plain).unwrap();
    let mut random = Philox::new(0x1d9).stream(0);
    for _ in 0..N_MUTANTS / 4 {
        let mut bytes = whole.clone();
        (0..=random.below(2)).for_each(|_| mutate(&mut bytes, &mut random));
        // A checksum stands over the data, so what is still read is what was written.
        if let Ok(tensor) = parse_idx(&bytes) {
            assert_eq!(tensor, expected);
        }
    }
}
