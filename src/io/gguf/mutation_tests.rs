//! Damaged files by the ten thousand: valid files with a few seeded mutations each, through [`parse`] and
//! every tensor read. The `fuzz/` folder drives the same calls by coverage; this test runs everywhere and
//! always alike.

use super::tests::{Builder, golden};
use super::*;

const N_MUTANTS: usize = 40_000;

/// Numbers that counts, lengths, types and offsets turn into.
const NUMBERS: [u64; 14] = [
    0,
    1,
    2,
    8,
    9,
    12,
    31,
    32,
    64,
    255,
    1 << 31,
    1 << 32,
    u64::MAX / 2,
    u64::MAX,
];

/// Marsaglia's xorshift64: enough for choosing mutations, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number from 0 to `limit` - 1; 0 if `limit` is 0.
    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let blocks = Builder::default()
        .pair("general.alignment", 4, &32u32.to_le_bytes())
        .tensor("k4", &[256, 1], 12, 0)
        .tensor("k5", &[256], 13, 160)
        .tensor("k6", &[256, 1, 1], 14, 352)
        .tensor("h", &[3], 1, 576)
        .data(&[0x3c; 600]);
    let fives = Builder::default()
        .tensor("a", &[32, 2], 6, 0)
        .tensor("b", &[32, 1], 7, 64)
        .tensor("c", &[64, 1], 3, 96)
        .data(&[0x35; 160]);
    vec![
        golden().build(),
        blocks.build(),
        fives.build(),
        Builder::default().build(),
    ]
}

fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    let at = random.below(bytes.len());
    match random.below(7) {
        0 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
        1 if !bytes.is_empty() => bytes[at] = random.next() as u8,
        2 if random.below(3) == 0 => bytes.truncate(at),
        3 => bytes.insert(at, random.next() as u8),
        4 => {
            let end = (at + random.below(12)).min(bytes.len());
            bytes.drain(at..end);
        }
        5 => {
            let end = (at + random.below(60)).min(bytes.len());
            let piece = bytes[at..end].to_vec();
            let to = random.below(bytes.len() + 1);
            bytes.splice(to..to, piece);
        }
        _ => {
            let number = NUMBERS[random.below(NUMBERS.len())].to_le_bytes();
            let width = [1, 4, 8][random.below(3)];
            let end = (at + width).min(bytes.len());
            bytes.splice(at..end, number[..width].iter().copied());
        }
    }
}

/// Reads everything there is to read; true if the file is valid.
fn exercise(bytes: &[u8]) -> bool {
    let file = match parse(bytes) {
        Ok(file) => file,
        Err(error) => {
            let message = error.to_string();
            assert!(
                message.len() < 4_000 && !message.contains('\n'),
                "{message}"
            );
            return false;
        }
    };
    for tensor in file.tensors() {
        let (found, stored) = file.tensor_bytes(&tensor.name).unwrap();
        assert_eq!((found, stored.len()), (tensor, tensor.n_bytes));
        let decoded = file.decoded(&tensor.name).unwrap();
        assert_eq!(decoded.shape(), tensor.shape);
        assert_eq!(file.tensor(&tensor.name).is_ok(), tensor.kind.is_float());
        match file.matrix(&tensor.name) {
            Ok(matrix) => {
                let same = matrix
                    .dequantize()
                    .iter()
                    .zip(decoded.to_f32().unwrap())
                    .all(|(left, right)| *left == right);
                assert!(same, "{}", tensor.name);
            }
            Err(GgufError::NotAMatrix { .. } | GgufError::Blocks(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
    for (key, value) in file.metadata().pairs() {
        // Not a number is not equal to itself.
        assert_eq!(
            format!("{:?}", file.metadata().get(key)),
            format!("{:?}", Some(value))
        );
    }
    true
}

#[test]
fn mutated_files_are_read_in_full_or_refused() {
    let seeds = seeds();
    assert!(seeds.iter().all(|seed| exercise(seed)));
    let mut random = Random(0x1A91_DA27_0000_0001);
    let mut n_valid = 0;
    for index in 0..N_MUTANTS {
        let mut bytes = seeds[index % seeds.len()].clone();
        (0..=random.below(3)).for_each(|_| mutate(&mut bytes, &mut random));
        n_valid += usize::from(exercise(&bytes));
    }
    // Both outcomes must be common, or the mutations test only one of them.
    assert!(
        (N_MUTANTS / 50..N_MUTANTS * 3 / 4).contains(&n_valid),
        "{n_valid} of {N_MUTANTS} are valid"
    );
}
