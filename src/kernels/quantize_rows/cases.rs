//! Cases of `quantize_rows`, and its tests.

use crate::kernels::{Case, DataKind, Effort, FloatType};
use crate::num::Philox;

use super::{BlockScale, CODE_SCALE, QuantizeRows, X};

pub(super) fn cases(effort: Effort) -> Vec<Case> {
    let mut shapes = vec![
        // Block and segment the same, a block of several, the whole row with and without a tail.
        (3, 64, 32, 32),
        (9, 256, 256, 256),
        (2, 51, 51, 51),
        (1, 7, 7, 7),
        // Rows whose codes end in padding, segments of one step.
        (4, 40, 40, 40),
        (5, 72, 24, 8),
        // Chunks that a subgroup's lanes do not share evenly, in one block and in two.
        (3, 208, 208, 208),
        (4, 384, 192, 192),
        // So many that a workgroup takes several, and the last fewer.
        (35, 144, 144, 144),
        // More segments than lanes.
        (2, 1024, 1024, 16),
    ];
    if effort == Effort::Full {
        shapes.extend([
            (33, 4096, 32, 32),
            (2, 4096, 4096, 64),
            (70, 1000, 200, 40),
            (1, 1, 1, 1),
        ]);
    }
    let mut cases = Vec::new();
    for (m, k, block, sum_block) in shapes {
        for x in [FloatType::F32, FloatType::F16] {
            for data in [DataKind::Integers, DataKind::Normal] {
                cases.extend(case(
                    QuantizeRows {
                        m,
                        k,
                        x,
                        block,
                        sum_block,
                        scale: BlockScale::Largest,
                    },
                    data,
                ));
            }
        }
    }
    for x in [FloatType::F32, FloatType::F16] {
        for data in DataKind::ALL {
            let shape = QuantizeRows {
                m: 5,
                k: 192,
                x,
                block: 64,
                sum_block: 32,
                scale: BlockScale::Largest,
            };
            cases.extend(case(shape, data));
        }
    }
    // NaN in some blocks, by lanes of every kind.
    for (m, k, block, sum_block) in [
        (3, 64, 32, 32),
        (3, 208, 208, 208),
        (2, 51, 51, 51),
        (35, 144, 144, 144),
    ] {
        for x in [FloatType::F32, FloatType::F16] {
            let shape = QuantizeRows {
                m,
                k,
                x,
                block,
                sum_block,
                scale: BlockScale::Largest,
            };
            cases.extend(case_of(shape, DataKind::Normal, true));
        }
    }
    // A scale that is given: by lanes of every kind, several blocks, segments, padding, and rows with a tail.
    for (m, k, block, sum_block) in [
        (3, 208, 208, 208),
        (35, 144, 144, 144),
        (4, 384, 192, 192),
        (5, 72, 72, 8),
        (2, 51, 51, 51),
    ] {
        for x in [FloatType::F32, FloatType::F16] {
            for data in DataKind::ALL {
                let shape = QuantizeRows {
                    m,
                    k,
                    x,
                    block,
                    sum_block,
                    scale: BlockScale::Given,
                };
                cases.extend(case(shape, data));
            }
        }
    }
    cases
}

fn case(shape: QuantizeRows, data: DataKind) -> Option<Case> {
    case_of(shape, data, false)
}

/// The same with NaN in some blocks where asked.
fn case_of(shape: QuantizeRows, data: DataKind, has_nan: bool) -> Option<Case> {
    let QuantizeRows { m, k, x, block, .. } = shape;
    let (seed, len) = (u64::from(m) << 32 | u64::from(k), m as usize * k as usize);
    let mut values = match (data, x) {
        (DataKind::Integers, _) => exact_values(seed, len, block as usize),
        // Subnormal as f16 too: blocks of them have scales and codes like any other.
        (DataKind::Denormals, FloatType::F16) => data
            .values(seed, len)
            .into_iter()
            .map(|value| value * 2f32.powi(110))
            .collect(),
        _ => data.values(seed, len),
    };
    if has_nan {
        values
            .iter_mut()
            .step_by(97)
            .for_each(|one| *one = f32::NAN);
    }
    let mut operands = vec![(X, x.pack(&values))];
    if shape.scale == BlockScale::Given {
        // Integers are exact halves then, others beyond 2.5 are clamped.
        let scale = match data {
            DataKind::Integers => 2.0,
            _ => 0.02,
        };
        operands.push((CODE_SCALE, code_scale(scale)));
    }
    let mut case = Case::new(shape.launch().ok()?, operands, data);
    if has_nan {
        case.name.push_str(" nan");
    }
    Some(case)
}

/// The operand that a scale is given as.
pub(in crate::kernels) fn code_scale(scale: f32) -> Vec<u32> {
    let reciprocal = (1.0 / f64::from(scale)) as f32;
    FloatType::F32.pack(&[scale, reciprocal])
}

/// Integers times a power of two whose largest magnitude in each block is 127: the scale is that power
/// and the codes are the integers, without a rounding anywhere.
fn exact_values(seed: u64, len: usize, block: usize) -> Vec<f32> {
    let mut stream = Philox::new(seed).stream(0);
    let mut values = Vec::with_capacity(len);
    for index in 0..len {
        let integer = if index % block == block / 3 {
            if stream.below(2) == 0 { 127 } else { -127 }
        } else {
            stream.integer(-127..=127)
        };
        let power = [1.0, 0.25, 4.0, 0.5, 2.0][index / block % 5];
        values.push(integer as f32 * power);
    }
    values
}

#[cfg(test)]
mod tests {
    use crate::kernels::ShapeError;
    use crate::num::{StaticScale, quantize_rows_reference};
    use crate::record::{HostOperands, Values};

    use super::*;

    fn shape(k: u32, block: u32, sum_block: u32) -> QuantizeRows {
        QuantizeRows {
            m: 2,
            k,
            x: FloatType::F32,
            block,
            sum_block,
            scale: BlockScale::Largest,
        }
    }

    #[test]
    fn rejects_a_block_that_does_not_divide_the_row() {
        let error = shape(96, 64, 32).launch().err();
        assert!(matches!(
            error,
            Some(ShapeError::NotMultiple {
                name: "k",
                multiple: 64,
                ..
            })
        ));
    }

    #[test]
    fn rejects_a_sum_block_that_does_not_divide_the_block() {
        let error = shape(96, 32, 24).launch().err();
        assert!(matches!(
            error,
            Some(ShapeError::NotMultiple {
                name: "block",
                multiple: 24,
                ..
            })
        ));
    }

    #[test]
    fn rejects_segments_within_a_step() {
        let error = shape(24, 24, 12).launch().err();
        assert!(matches!(
            error,
            Some(ShapeError::NotMultiple {
                name: "segment",
                multiple: 8,
                ..
            })
        ));
        assert!(shape(12, 12, 12).launch().is_ok());
    }

    #[test]
    fn rejects_empty_blocks_and_bf16() {
        assert!(matches!(
            shape(8, 0, 8).launch().err(),
            Some(ShapeError::Zero { name: "block", .. })
        ));
        let bf16 = QuantizeRows {
            x: FloatType::Bf16,
            ..shape(8, 8, 8)
        };
        assert!(matches!(
            bf16.launch().err(),
            Some(ShapeError::Unsupported { .. })
        ));
    }

    #[test]
    fn rejects_sums_that_leave_i32() {
        let error = QuantizeRows {
            m: 1,
            ..shape(16_909_328, 16_909_328, 16_909_328)
        }
        .launch()
        .err();
        assert!(matches!(
            error,
            Some(ShapeError::TooLarge {
                name: "sum_block",
                ..
            })
        ));
    }

    #[test]
    fn the_reference_agrees_with_the_definition_of_the_format() {
        let shape = QuantizeRows {
            m: 3,
            k: 192,
            x: FloatType::F32,
            block: 64,
            sum_block: 32,
            scale: BlockScale::Largest,
        };
        let x = DataKind::Normal.values(3, 3 * 192);
        let mut operands = HostOperands::default();
        let words = FloatType::F32.pack(&x);
        operands.insert(X, &words);
        let outputs = shape.launch().expect("a good shape").reference(&operands);
        let rows = quantize_rows_reference(&x, 3, 192, 64, 32).expect("finite values");
        let mut codes = vec![0; rows.codes.len()];
        outputs[0].store(&mut codes);
        assert_eq!(codes, rows.codes);
        assert_eq!(outputs[2].values, Values::I32(rows.sums));
        let mut blocks = vec![0; 3 * 6];
        outputs[1].store(&mut blocks);
        let repeated: Vec<u32> = rows
            .scales
            .iter()
            .flat_map(|scale| [scale.to_bits(); 2])
            .collect();
        assert_eq!(blocks, repeated);
    }

    #[test]
    fn codes_under_a_given_scale_are_those_of_the_format() {
        let shape = QuantizeRows {
            m: 3,
            k: 64,
            x: FloatType::F32,
            block: 64,
            sum_block: 64,
            scale: BlockScale::Given,
        };
        let scale = StaticScale::new("x", 0.013).expect("within range");
        let x = DataKind::Normal.values(3, 3 * 64);
        let (words, given) = (FloatType::F32.pack(&x), code_scale(scale.get()));
        let mut operands = HostOperands::default();
        operands.insert(X, &words);
        operands.insert(CODE_SCALE, &given);
        assert_eq!(f32::from_bits(given[1]), scale.reciprocal());
        let outputs = shape.launch().expect("a good shape").reference(&operands);
        let codes: Vec<i8> = x.iter().map(|&x| scale.code(x)).collect();
        assert!(codes.contains(&127) && codes.contains(&-127));
        assert_eq!(outputs[0].values, Values::I8(codes));
        assert_eq!(outputs[1].values, Values::F32(vec![scale.get().into(); 3]));
    }
}
