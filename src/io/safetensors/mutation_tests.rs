//! Damaged files by the ten thousand: valid files with a few seeded mutations each, through
//! [`parse`] and every tensor read, and compared with what the reference crate makes of the same
//! bytes.
//!
//! The `fuzz/` folder drives the same calls by coverage; this test runs everywhere and always
//! alike.

use super::tests::file_of;
use super::*;

const N_MUTANTS: usize = 40_000;

/// Pieces of headers that reach deeper than random bytes do.
const TOKENS: [&str; 24] = [
    "\"w\":",
    "\"__metadata__\":",
    "\"dtype\":",
    "\"shape\":",
    "\"data_offsets\":",
    "\"F8_E4M3\"",
    "\"F4\"",
    "\"F64\"",
    "\"BOOL\"",
    "[0,0]",
    "[0,1]",
    "[]",
    "{}",
    "{",
    "}",
    "[",
    ",",
    "-1",
    "1e9",
    "0",
    "4",
    "null",
    "\\u0000",
    "18446744073709551615",
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
    let dense = r#"{"__metadata__":{"format":"pt","by":"hand"},
        "b":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},
        "c":{"dtype":"BF16","shape":[3],"data_offsets":[16,22]},
        "a":{"dtype":"I8","shape":[],"data_offsets":[22,23]},
        "e":{"dtype":"I64","shape":[0,9],"data_offsets":[23,23]}}"#;
    let exotic = r#"{"q":{"dtype":"F4","shape":[4,2],"data_offsets":[0,4]},
        "s":{"dtype":"F8_E8M0","shape":[4],"data_offsets":[4,8]},
        "z":{"dtype":"C64","shape":[1],"data_offsets":[8,16],"note":[{"x":1.5}]}}"#;
    vec![
        file_of(dense, &(0..23).collect::<Vec<u8>>()),
        file_of(exotic, &[0x5a; 16]),
        file_of(
            r#"{"w":{"dtype":"U16","shape":[1],"data_offsets":[0,2]}}  "#,
            &[1, 2],
        ),
        file_of("{}", &[]),
    ]
}

fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    let at = random.below(bytes.len());
    match random.below(9) {
        0 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
        1 if !bytes.is_empty() => bytes[at] = random.next() as u8,
        2 => bytes.truncate(at),
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
        // A digit becomes another: sizes and offsets that nearly agree.
        6 => {
            let digits: Vec<usize> = (0..bytes.len())
                .filter(|&i| bytes[i].is_ascii_digit())
                .collect();
            if let Some(&digit) = digits.get(random.below(digits.len())) {
                bytes[digit] = b'0' + random.below(10) as u8;
            }
        }
        7 => {
            let token = TOKENS[random.below(TOKENS.len())];
            let end = (at + random.below(token.len() + 1)).min(bytes.len());
            bytes.splice(at..end, token.bytes());
        }
        // Whatever grew or shrank, the header ends where its last brace does, so that the JSON is
        // looked at.
        _ => {
            let header_end = bytes.iter().rposition(|&byte| byte == b'}');
            if let Some(header_bytes) =
                header_end.and_then(|end| (end + 1).checked_sub(LENGTH_BYTES))
            {
                bytes[..LENGTH_BYTES].copy_from_slice(&(header_bytes as u64).to_le_bytes());
            }
        }
    }
}

/// Reads everything there is to read; true if the file is valid.
fn exercise(bytes: &[u8]) -> bool {
    let reference = SafeTensors::deserialize(bytes);
    let file = match parse(bytes) {
        Ok(file) => file,
        Err(error) => {
            let message = error.to_string();
            assert!(
                message.len() < 4_000 && !message.contains('\n'),
                "{message}"
            );
            // What the crate reads and we refuse, we refuse on purpose.
            let is_stricter = matches!(
                error,
                SafetensorsError::DuplicateTensor { .. }
                    | SafetensorsError::DuplicateMetadata { .. }
                    | SafetensorsError::TooManyDimensions { .. }
                    | SafetensorsError::ShapeOverflow { .. }
            );
            assert!(
                reference.is_err() || is_stricter,
                "{message}: {}",
                bytes.escape_ascii()
            );
            return false;
        }
    };
    let reference = reference.unwrap();
    assert_eq!(file.tensors().len(), reference.len());
    for entry in file.tensors() {
        let expected = reference.tensor(&entry.name).unwrap();
        let (_, stored) = file.tensor_bytes(&entry.name).unwrap();
        assert_eq!(
            (stored, &entry.shape[..]),
            (expected.data(), expected.shape())
        );
        assert_eq!(
            (entry.dtype, entry.n_bytes),
            (expected.dtype().into(), stored.len())
        );
        match (file.tensor(&entry.name), entry.dtype) {
            (Ok(tensor), StoredDType::Supported(dtype)) => {
                assert_eq!((tensor.dtype(), tensor.bytes()), (dtype, stored));
                assert!(tensor.to_f32().is_ok() || tensor.to_i32().is_ok() || dtype.bytes() >= 4);
                assert_eq!(tensor.words().len(), stored.len().div_ceil(4));
            }
            (Err(SafetensorsError::UnsupportedDtype { .. }), StoredDType::Unsupported(_)) => {}
            (result, dtype) => panic!("{dtype}: {result:?}"),
        }
    }
    true
}

#[test]
fn mutated_files_are_read_as_the_reference_reads_them_or_refused() {
    let seeds = seeds();
    assert!(seeds.iter().all(|seed| exercise(seed)));
    let mut random = Random(0x1A91_DA27_0000_0001);
    let mut n_valid = 0;
    for index in 0..N_MUTANTS {
        let mut bytes = seeds[index % seeds.len()].clone();
        (0..=random.below(4)).for_each(|_| mutate(&mut bytes, &mut random));
        n_valid += usize::from(exercise(&bytes));
    }
    // Both outcomes must be common, or the mutations test only one of them.
    assert!(
        (N_MUTANTS / 50..N_MUTANTS / 2).contains(&n_valid),
        "{n_valid} of {N_MUTANTS} are valid"
    );
}
