//! Cases: widths from 2 to 8 bits, ties, scales of both signs, zero points, quotients far out of range and far
//! below one, subnormals, and the 16-bit types.

use crate::kernels::{Case, DataKind, Effort, FloatType};
use crate::num::Philox;
use crate::num::quant::CodeRange;
use crate::shader::Edit;

use super::{CodedRuns, FakeQuantize, NAME, SCALES, X, ZEROS};

/// Extents and widths, with and without zero points and scales of their own.
pub(in crate::kernels) fn shapes(effort: Effort) -> Vec<CodedRuns> {
    let mut extents = vec![
        (1, 1, 8),
        (3, 7, 4),
        (65, 32, 4),
        (2, 129, 3),
        (40, 64, 2),
        (9, 130, 8),
    ];
    if effort == Effort::Full {
        extents.extend([(300, 512, 8), (4000, 32, 2), (2, 5001, 4)]);
    }
    let mut shapes = Vec::new();
    for (index, (rows, columns, bits)) in extents.into_iter().enumerate() {
        // Every width here has codes.
        let full = CodeRange::of_bits(bits).unwrap_or(CodeRange::stored_as(crate::num::Bits::Int8));
        for (is_shared, has_zeros) in [(false, false), (true, false), (false, true), (true, true)] {
            let range = if index % 2 == 1 && !has_zeros {
                full.narrow()
            } else {
                full
            };
            shapes.push(CodedRuns {
                rows,
                columns,
                is_shared,
                has_zeros,
                range,
            });
        }
    }
    shapes
}

/// x, scales and zero points. Integers come with powers of two, so that everything is exact; other data with
/// scales that put some elements out of range and some on ties.
pub(in crate::kernels) fn operands(
    runs: CodedRuns,
    storage: FloatType,
    data: DataKind,
) -> Vec<(u32, Vec<u32>)> {
    let seed = u64::from(runs.rows) << 32 | u64::from(runs.columns);
    let len = runs.elements() as usize;
    let mut stream = Philox::new(seed).stream(91);
    let scales: Vec<f32> = (0..runs.scales())
        .map(|index| {
            let sign = if index % 5 == 3 { -1.0 } else { 1.0 };
            let size = match data {
                DataKind::Integers => 1.0,
                // Some too small to divide by, some of 2^-126 times a few.
                DataKind::Denormals => [0.0, 1e-39, 2e-38, 5e-38][index as usize % 4],
                DataKind::Normal
                | DataKind::Outliers
                | DataKind::Zeros
                | DataKind::OneNonzero
                | DataKind::Cancelling => 2.5 / runs.range.max() as f32 * (0.5 + stream.uniform()),
            };
            let power = [1.0, 0.25, 2.0, 0.5][index as usize % 4];
            sign * size * power
        })
        .collect();
    let mut x = data.values(seed, len);
    let columns = runs.columns as usize;
    for (index, value) in x.iter_mut().enumerate() {
        let at = if runs.is_shared { 0 } else { index / columns };
        match data {
            // Halves of steps: every second one is a tie.
            DataKind::Integers => {
                let most = runs.range.max() + 3;
                *value = 0.5 * scales[at] * stream.integer(-2 * most..=2 * most) as f32;
            }
            // Next to a tie, on one side or the other, and on it.
            DataKind::Normal if index % 3 == 0 => {
                let half = stream.integer(-runs.range.max()..=runs.range.max()) as f32 + 0.5;
                let near = half * scales[at];
                *value = [near, near.next_up(), near.next_down()][index / 3 % 3];
            }
            DataKind::Normal
            | DataKind::Outliers
            | DataKind::Denormals
            | DataKind::Zeros
            | DataKind::OneNonzero
            | DataKind::Cancelling => {}
        }
    }
    let mut operands = vec![
        (X, storage.pack(&x)),
        (SCALES, FloatType::F32.pack(&scales)),
    ];
    if runs.has_zeros {
        let codes = runs.range.min()..=runs.range.max();
        let bytes: Vec<u8> = (0..runs.scales().next_multiple_of(4))
            .map(|_| stream.integer(codes.clone()) as u8)
            .collect();
        let word = |bytes: &[u8]| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        operands.push((ZEROS, bytes.chunks_exact(4).map(word).collect()));
    }
    operands
}

pub(super) fn cases(effort: Effort) -> Vec<Case> {
    let mut cases = Vec::new();
    for (index, runs) in shapes(effort).into_iter().enumerate() {
        let plain = FakeQuantize {
            runs,
            x: FloatType::F32,
            out: FloatType::F32,
        };
        for data in [
            DataKind::Integers,
            DataKind::Normal,
            DataKind::ALL[index % 7],
        ] {
            cases.extend(case(plain, data));
        }
        let types = [FloatType::F16, FloatType::Bf16, FloatType::F32];
        let halves = FakeQuantize {
            x: types[index % 3],
            out: types[(index / 3) % 3],
            ..plain
        };
        cases.extend(case(halves, DataKind::Integers));
        cases.extend(case(halves, DataKind::Normal));
    }
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    cases.dedup_by(|a, b| a.name == b.name);
    cases
}

/// `None` only when the shape itself is refused, which the shape tests cover.
fn case(shape: FakeQuantize, data: DataKind) -> Option<Case> {
    let operands = operands(shape.runs, shape.x, data);
    Some(Case::new(shape.launch().ok()?, operands, data))
}

pub(super) const BROKEN: &[Edit] = &[
    Edit {
        name: "ties_away_from_zero",
        module: "lib/steps",
        find: "(whole & 1u) == 1u",
        replace: "true",
    },
    Edit {
        name: "just_below_half_rounded_up",
        module: "lib/steps",
        find: "let up = twice > denominator ||",
        replace: "let up = twice > denominator - 4u ||",
    },
    Edit {
        name: "sign_of_the_scale_lost",
        module: "lib/steps",
        find: "((value ^ scale) >> 31u)",
        replace: "(value >> 31u)",
    },
    Edit {
        name: "small_quotients_rounded_as_if_whole",
        module: "lib/steps",
        find: "divisor << u32(max(-shift, 0))",
        replace: "divisor",
    },
    Edit {
        name: "far_quotients_within_the_codes",
        module: "lib/steps",
        find: "Steps(sign * 512, 0.0)",
        replace: "Steps(0, 0.0)",
    },
    Edit {
        name: "zero_point_not_taken_off_again",
        module: NAME,
        find: "f32(code - zero)",
        replace: "f32(code)",
    },
    Edit {
        name: "not_clamped_below",
        module: NAME,
        find: "params.min_code, params.max_code",
        replace: "-512, params.max_code",
    },
    Edit {
        name: "scale_of_the_first_run",
        module: NAME,
        find: "(index / params.columns) * params.scale_stride",
        replace: "0u",
    },
    Edit {
        name: "last_of_an_odd_count_lost",
        module: NAME,
        find: "if (index >= count)",
        replace: "if (index + 1u >= count)",
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::ShapeError;
    use crate::kernels::parts_test::check_parts;

    #[test]
    fn rejects_empty_extents() {
        let runs = CodedRuns {
            rows: 0,
            columns: 3,
            is_shared: false,
            has_zeros: false,
            range: CodeRange::of_bits(4).expect("a width"),
        };
        let (x, out) = (FloatType::F32, FloatType::F32);
        let launch = FakeQuantize { runs, x, out }.launch();
        assert!(matches!(launch, Err(ShapeError::Zero { name: "rows", .. })));
    }

    #[test]
    fn parts_make_what_the_whole_makes() {
        for (is_shared, has_zeros) in [(false, true), (true, false), (true, true)] {
            let runs = CodedRuns {
                rows: 1100,
                columns: 3,
                is_shared,
                has_zeros,
                range: CodeRange::of_bits(3).expect("a width"),
            };
            let (x, out) = (FloatType::F16, FloatType::F32);
            let launch = FakeQuantize { runs, x, out }.launch().expect("valid");
            let operands = operands(runs, x, DataKind::Integers);
            assert!(check_parts(launch.as_ref(), &operands, 8192, 256) > 1);
        }
    }
}
