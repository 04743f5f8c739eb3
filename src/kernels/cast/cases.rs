//! Cases: every kind of data, every 16-bit pattern, and f32 values around every kind of rounding.

use crate::kernels::{Case, DataKind, Effort, FloatType, Judge};
use crate::shader::Edit;

use super::{Cast, X};

const PAIRS: [(FloatType, FloatType); 6] = [
    (FloatType::F32, FloatType::F16),
    (FloatType::F32, FloatType::Bf16),
    (FloatType::F16, FloatType::F32),
    (FloatType::Bf16, FloatType::F32),
    (FloatType::F16, FloatType::Bf16),
    (FloatType::Bf16, FloatType::F16),
];

pub(super) fn cases(effort: Effort) -> Vec<Case> {
    let mut cases = Vec::new();
    for (from, to) in PAIRS {
        for (index, data) in DataKind::ALL.into_iter().enumerate() {
            let count = [1000, 129, 257, 64, 1, 2, 7][index];
            let values = data.values(u64::from(count), count as usize);
            let launch = Cast { count, from, to }.launch();
            cases.extend(launch.ok().map(|launch| {
                let case = Case::new(launch, vec![(X, from.pack(&values))], data);
                Case {
                    judge: Judge::Bitwise,
                    ..case
                }
            }));
        }
        let (count, words) = match from {
            FloatType::F32 => around_roundings(to, effort),
            // Without the last, so that the count is odd.
            FloatType::F16 | FloatType::Bf16 => (0xffff, all_halves()),
        };
        let launch = Cast { count, from, to }.launch();
        cases.extend(launch.ok().map(|launch| {
            let case = Case::new(launch, vec![(X, words)], DataKind::Integers);
            Case {
                name: format!("{from} to {to} all patterns"),
                ..case
            }
        }));
    }
    cases
}

/// Every 16-bit pattern: all subnormals, both infinities, every NaN.
fn all_halves() -> Vec<u32> {
    (0..0x8000u32)
        .map(|word| (2 * word) | ((2 * word + 1) << 16))
        .collect()
}

/// f32 bits at, just below and just above the values and the midpoints of the 16-bit type.
fn around_roundings(to: FloatType, effort: Effort) -> (u32, Vec<u32>) {
    let stride = if effort == Effort::Full { 1 } else { 11 };
    let mut words = vec![
        0x7f80_0001, // NaN whose payload is in the lowest bit only
        0xffc1_2345,
        0x7f7f_ffff, // the largest f32
        0x477f_efff, // just below 65520
        0x477f_f000, // 65520, the first to overflow f16
        0x3300_0000, // 2^-25, a tie between 0 and the smallest f16
        0x3300_0001,
        0x0000_0001, // the smallest f32
        0x8000_0000, // -0
    ];
    for half in (0..=0xffffu32).step_by(stride) {
        let (at, step) = match to {
            FloatType::F16 => match widened_f16(half) {
                Some(at) => (at, 0x1000),
                None => continue,
            },
            FloatType::F32 | FloatType::Bf16 => (half << 16, 0x8000),
        };
        words.extend([at, at + step - 1, at + step, at + step + 1]);
    }
    (words.len() as u32, words)
}

/// Bits of a finite f16 as f32; adding 0x1000 to them gives a midpoint above the subnormals.
fn widened_f16(half: u32) -> Option<u32> {
    let value = half::f16::from_bits(half as u16).to_f32();
    value.is_finite().then(|| value.to_bits())
}

pub(super) const BROKEN: &[Edit] = &[
    Edit {
        name: "f16_ties_away_from_zero",
        module: "lib/half",
        find: "rebased + 0xfffu + ((rebased >> 13u) & 1u)",
        replace: "rebased + 0x1000u",
    },
    Edit {
        name: "f16_subnormals_flushed",
        module: "lib/half",
        find: "magnitude < 0x33000000u",
        replace: "magnitude < 0x38800000u",
    },
    Edit {
        name: "bf16_truncated",
        module: "lib/half",
        find: "(bits + 0x7fffu + ((bits >> 16u) & 1u)) >> 16u",
        replace: "bits >> 16u",
    },
    Edit {
        name: "nan_becomes_infinity",
        module: "lib/half",
        find: "(bits >> 16u) | 0x40u",
        replace: "bits >> 16u",
    },
    Edit {
        name: "subnormal_exponent_off_by_one",
        module: "lib/widen",
        find: "leading + 103u",
        replace: "leading + 102u",
    },
    Edit {
        name: "first_half_read_twice",
        module: "element/bf16",
        find: "16u * (index & 1u)",
        replace: "16u * (index & 0u)",
    },
    Edit {
        name: "halves_swapped",
        module: "pair/f16",
        find: "f32_bits_to_f16(first) | (f32_bits_to_f16(second) << 16u)",
        replace: "f32_bits_to_f16(second) | (f32_bits_to_f16(first) << 16u)",
    },
    Edit {
        name: "odd_tail_not_cleared",
        module: "cast",
        find: "if (index + 1u < params.count) {",
        replace: "if (index < params.count) {",
    },
    Edit {
        name: "written_past_the_end",
        module: "pair/f32",
        find: "2u * pair + 1u < count",
        replace: "2u * pair < count",
    },
];
