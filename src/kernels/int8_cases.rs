//! Cases of the integer products. As for the float products, the quick table pairs formats with
//! epilogues and outputs instead of crossing them.

use std::sync::Arc;

use crate::num::{
    Bits, Granularity, MinimumParts, Philox, QuantizedMatrix, QuantizedParts, Scheme, Stream, Zero,
};
use crate::record::HostOperands;

use super::epilogue::{BIAS, RESIDUAL};
use super::int8_product::{BLOCKS, CODE_SCALE, Int8Launch, MatmulInt8, X};
use super::path::Path;
use super::quant_cases::{FORMATS, INT8_MINIMUM, INT8_ZERO_POINT, fits, weight_operands};
use super::quantize_rows::cases::code_scale;
use super::quantize_rows::{BlockScale, QuantizeRows};
use super::row_codes::RowCodes;
use super::weight::{CODES, SCALES, ZEROS};
use super::{Case, DataKind, Effort, Epilogue, FloatType};

/// Words of operands by binding.
type Operands = Vec<(u32, Vec<u32>)>;

/// Longest row that exact cases fill with the largest codes: `192 * (128 + 32) * 127` times the ratio
/// of largest to smallest scale, 4, is within 2^24. Above a minimum int8 codes go to 255 and rows end at half
/// of them.
const EXTREME_K: u32 = 192;

/// Zero points of exact int8 cases, see [`EXTREME_K`].
const INT8_ZEROS: std::ops::RangeInclusive<i32> = -32..=31;

/// Extents n and k, activation block, weight format.
type Shape = (u32, u32, u32, Scheme);

/// One row of the quick table: shapes that link the same shader, epilogue, output, kinds of data.
type Quick = (&'static [Shape], Epilogue, FloatType, &'static [DataKind]);

const BOTH: &[DataKind] = &[DataKind::Integers, DataKind::Normal];

const QUICK: [Quick; 13] = {
    use FloatType::{F16, F32};
    let [plain, bias_relu, residual, silu, gelu] = Epilogue::CASES;
    const INT4_ZERO_POINT: &[Shape] = &[
        (34, 192, 32, Scheme::int4_group_zero_point(64)),
        (34, 128, 128, Scheme::int4_group_zero_point(64)),
    ];
    // Blocks below, at and above the group; as many segments as the widest workgroup has lanes.
    const INT4_WIDE: &[Shape] = &[
        (33, 192, 32, Scheme::int4_group(64)),
        (10, 128, 64, Scheme::int4_group(32)),
        (3, 2048, 32, Scheme::int4_group(32)),
    ];
    const INT4_NARROW: &[Shape] = &[
        (33, 192, 24, Scheme::int4_group(24)),
        (3, 768, 8, Scheme::int4_group(24)),
        (5, 80, 80, Scheme::int4_group(40)),
    ];
    // A row of one segment with a tail in its last wide step, and one of more steps than lanes.
    const INT8_WIDE: &[Shape] = &[
        (35, 160, 32, Scheme::int8_tensor()),
        (18, 51, 51, Scheme::int8_channel()),
        (3, 2112, 2112, Scheme::int8_channel()),
    ];
    const INT4_MINIMUM_WIDE: &[Shape] = &[
        (33, 192, 32, Scheme::int4_group_minimum(32)),
        (10, 128, 128, Scheme::int4_group_minimum(32)),
        (3, 2048, 32, Scheme::int4_group_minimum(64)),
    ];
    const INT4_MINIMUM_NARROW: &[Shape] = &[
        (33, 192, 8, Scheme::int4_group_minimum(24)),
        (6, 120, 120, Scheme::int4_group_minimum(24)),
    ];
    // Segments too long for sums in f32.
    const INT8_MINIMUM_LONG: Scheme = Scheme {
        granularity: Granularity::Group(544),
        ..INT8_MINIMUM
    };
    const INT8_MINIMA: &[Shape] = &[
        (34, 96, 32, INT8_MINIMUM),
        (7, 1088, 544, INT8_MINIMUM_LONG),
    ];
    // Whole steps of 16 and no whole wide ones.
    const INT8_SIXTEENS: &[Shape] = &[
        (34, 48, 48, Scheme::int8_channel()),
        (33, 80, 16, Scheme::int8_group(16)),
    ];
    const INT4_SIXTEENS: &[Shape] = &[(35, 80, 80, Scheme::int4_group_zero_point(16))];
    const ALL: &[DataKind] = &DataKind::ALL;
    [
        (INT4_WIDE, plain, F32, ALL),
        (INT4_ZERO_POINT, bias_relu, F16, BOTH),
        (INT4_NARROW, residual, F32, BOTH),
        (&[(34, 96, 96, Scheme::int8_group(32))], silu, F32, BOTH),
        (INT8_WIDE, plain, F32, ALL),
        (&[(10, 80, 40, INT8_ZERO_POINT)], plain, F16, BOTH),
        (&[(12, 43, 43, Scheme::int4_channel())], gelu, F16, BOTH),
        // A segment that one exact f32 sum does not hold, with zero points.
        (
            &[(3, 1088, 1088, Scheme::int4_group_zero_point(1088))],
            plain,
            F32,
            BOTH,
        ),
        (INT4_MINIMUM_WIDE, plain, F32, ALL),
        (INT4_MINIMUM_NARROW, bias_relu, F16, BOTH),
        (INT8_MINIMA, residual, F32, BOTH),
        (INT8_SIXTEENS, bias_relu, F32, BOTH),
        (INT4_SIXTEENS, plain, F32, BOTH),
    ]
};

/// What stores codes for a next product: rows with every number of codes behind the last word, and padding of every
/// length; blocks and groups; functions that are exact and such as are not.
const CODED: [(&[Shape], Epilogue, &[DataKind]); 4] = {
    let [plain, bias_relu, _, _, gelu] = Epilogue::CASES;
    const CHANNELS: &[Shape] = &[
        (35, 160, 160, Scheme::int8_channel()),
        (18, 51, 51, Scheme::int8_channel()),
        (64, 96, 96, Scheme::int8_tensor()),
        (5, 2112, 2112, Scheme::int8_channel()),
    ];
    const GROUPS: &[Shape] = &[
        (33, 80, 16, Scheme::int8_group(16)),
        (42, 96, 32, Scheme::int8_group(32)),
    ];
    [
        (CHANNELS, bias_relu, &DataKind::ALL),
        (CHANNELS, plain, BOTH),
        (GROUPS, plain, BOTH),
        (
            &[(38, 192, 32, Scheme::int4_group_zero_point(64))],
            gelu,
            BOTH,
        ),
    ]
};

/// The cases of one kernel; `rows` are the m it is tried with, in turn.
pub(super) fn int8_cases(path: Path, rows: &[u32], effort: Effort) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |m, (n, k, block, scheme): Shape, epilogue, (out, codes), data| {
        let weight = scheme.format();
        let shape = MatmulInt8 {
            m,
            n,
            k,
            block,
            weight,
            epilogue,
            out,
            codes,
        };
        cases.extend(case(path, shape, scheme, data));
    };
    for (&(shapes, epilogue, out, kinds), &m) in QUICK.iter().zip(rows.iter().cycle()) {
        for &shape in shapes {
            kinds
                .iter()
                .for_each(|&data| add(m, shape, epilogue, (out, false), data));
        }
    }
    let mut turns = rows.iter().cycle();
    for (shapes, epilogue, kinds) in CODED {
        for (&shape, &m) in shapes.iter().zip(&mut turns) {
            let out = (FloatType::F32, true);
            kinds
                .iter()
                .for_each(|&data| add(m, shape, epilogue, out, data));
        }
    }
    if effort == Effort::Full {
        let extents = [
            (33, 192),
            (40, 96),
            (10, 51),
            (64, 256),
            (129, 1024),
            (1, 1),
            (66, 320),
            (17, 72),
        ];
        for (&(n, k), &m) in extents.iter().zip(rows.iter().cycle()) {
            for scheme in FORMATS.into_iter().filter(|scheme| fits(scheme, k)) {
                for block in [8, 32, 64, k] {
                    for &data in BOTH {
                        let shape = (n, k, block, scheme);
                        let out = (FloatType::F32, false);
                        add(m, shape, Epilogue::default(), out, data);
                    }
                }
            }
        }
        for (epilogue, &m) in Epilogue::CASES.into_iter().zip(rows.iter().cycle()) {
            for out in [FloatType::F32, FloatType::F16] {
                let shape = (34, 128, 64, Scheme::int4_group_zero_point(64));
                DataKind::ALL
                    .into_iter()
                    .for_each(|data| add(m, shape, epilogue, (out, false), data));
            }
        }
    }
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    cases.dedup_by(|a, b| a.name == b.name);
    cases
}

/// The case; `None` only when the shape itself is refused, which the shape tests cover.
fn case(path: Path, shape: MatmulInt8, scheme: Scheme, data: DataKind) -> Option<Case> {
    let launch = Int8Launch::new(path, shape).ok()?;
    let MatmulInt8 {
        m, n, k, epilogue, ..
    } = shape;
    let (rows, columns, length) = (m as usize, n as usize, k as usize);
    let seed = u64::from(m) << 40 | u64::from(n) << 20 | u64::from(k);
    let mut operands = if data == DataKind::Integers {
        let mut operands = exact_rows(shape.rows(), shape.block, seed);
        operands.extend(exact_weights(scheme, columns, length, seed + 1)?);
        operands
    } else {
        let mut operands = quantized_rows(shape, &data.values(seed, rows * length))?;
        operands.extend(weight_operands(data, scheme, columns, length, seed + 1)?);
        operands
    };
    if epilogue.bias {
        operands.push((BIAS, FloatType::F32.pack(&data.values(seed + 2, columns))));
    }
    if epilogue.residual {
        let values = data.values(seed + 3, rows * columns);
        operands.push((RESIDUAL, FloatType::F32.pack(&values)));
    }
    if shape.codes {
        operands.push((CODE_SCALE, code_scale(scale_of_results(k, data))));
    }
    let case = Case::new(Arc::new(launch), operands, data);
    Some(if epilogue.activation.is_exact() {
        case
    } else {
        case.bounded()
    })
}

/// A scale under which most results of random operands have codes between the largest, and some are beyond: of
/// integers, whose codes have a standard deviation of 73, a power of two, so that every step is exact.
fn scale_of_results(k: u32, data: DataKind) -> f32 {
    let size = f64::from(k).sqrt();
    match data {
        DataKind::Integers => (73.0 * 73.0 * size / 64.0).log2().round().exp2() as f32,
        _ => (size / 64.0) as f32,
    }
}

/// Codes and blocks that `quantize_rows` defines for `x`.
fn quantized_rows(shape: MatmulInt8, x: &[f32]) -> Option<Operands> {
    let MatmulInt8 { m, k, block, .. } = shape;
    let quantize = QuantizeRows {
        m,
        k,
        x: FloatType::F32,
        block,
        sum_block: shape.segment(),
        scale: BlockScale::Largest,
    };
    let words = FloatType::F32.pack(x);
    let mut operands = HostOperands::default();
    operands.insert(super::quantize_rows::X, &words);
    let rows = shape.rows();
    let mut codes = vec![0; (rows.code_bytes() / 4) as usize];
    let mut blocks = vec![0; (rows.block_bytes() / 4) as usize];
    for output in quantize.launch().ok()?.reference(&operands) {
        let words = if output.binding == super::quantize_rows::CODES {
            &mut codes
        } else {
            &mut blocks
        };
        output.store(words);
    }
    Some(vec![(X, codes), (BLOCKS, blocks)])
}

/// Any codes, and in every third row the most negative that there are, with scales of 1/2 and 1.
pub(super) fn exact_rows(rows: RowCodes, block: u32, seed: u64) -> Operands {
    let mut stream = Philox::new(seed).stream(0);
    let (k, segment) = (rows.k as usize, rows.segment as usize);
    let mut codes = vec![0u32; (rows.code_bytes() / 4) as usize];
    let mut blocks = vec![0u32; (rows.block_bytes() / 4) as usize];
    for row in 0..rows.m as usize {
        for column in 0..k {
            let extreme = row % 3 == 0 && rows.k <= EXTREME_K;
            let code = if extreme {
                -127
            } else {
                stream.integer(-127..=127)
            };
            let word = row * rows.row_words() as usize + column / 4;
            codes[word] |= u32::from(code as u8) << (8 * (column % 4));
            let sum = &mut blocks[rows.sum_at(row, column / segment)];
            *sum = sum.wrapping_add_signed(code);
            let scale = [0.5f32, 1.0][(row + column / block as usize) % 2];
            blocks[rows.scale_at(row, column / segment)] = scale.to_bits();
        }
    }
    vec![(X, codes), (BLOCKS, blocks)]
}

/// Any codes of the format, and in every third row the largest there are, with scales of 1/2, 1 and -1, and
/// minima of a few halves.
fn exact_weights(scheme: Scheme, n: usize, k: usize, seed: u64) -> Option<Operands> {
    let mut stream = Philox::new(seed).stream(0);
    let (bits, granularity) = (scheme.bits, scheme.granularity);
    let format = scheme.format();
    let (longest, largest) = match (format.zero, bits) {
        (Zero::Symmetric | Zero::ZeroPoint, _) => (EXTREME_K, bits.min()),
        (Zero::FloatMinimum, Bits::Int4) => (EXTREME_K, bits.max()),
        (Zero::FloatMinimum, Bits::Int8) => (EXTREME_K / 2, bits.max()),
    };
    let mut codes = Vec::with_capacity(n * k);
    for row in 0..n {
        for _ in 0..k {
            let extreme = row % 3 == 0 && k <= longest as usize;
            let code = if extreme {
                largest
            } else {
                stream.integer(bits.min()..=bits.max())
            };
            codes.push(code as i8);
        }
    }
    let count = match granularity {
        Granularity::Tensor => 1,
        Granularity::Channel => n,
        Granularity::Group(group_size) => n * (k / group_size as usize),
    };
    let scales: Vec<f32> = (0..count)
        .map(|index| [0.5, 1.0, -1.0][(index * 2 + index / 5) % 3])
        .collect();
    let matrix = if format.zero == Zero::FloatMinimum {
        let unsigned: Vec<u8> = codes
            .iter()
            .map(|&code| (i32::from(code) - bits.min()) as u8)
            .collect();
        let minima: Vec<f32> = (0..count)
            .map(|index| [-3.5, 1.0, 0.0, -0.5, 2.0][(index * 3 + index / 7) % 5])
            .collect();
        let parts = MinimumParts {
            bits,
            granularity,
            n,
            k,
            codes: &unsigned,
            scales: &scales,
            minima: &minima,
            scale_type: format.scale_type,
        };
        QuantizedMatrix::from_minima("case", &parts).ok()?
    } else {
        signed_matrix(scheme, (n, k), &codes, &scales, &mut stream)?
    };
    let mut operands = vec![
        (CODES, matrix.codes().to_vec()),
        (SCALES, matrix.packed_scales()),
    ];
    operands.extend(matrix.packed_zeros().map(|zeros| (ZEROS, zeros)));
    Some(operands)
}

/// Codes that are symmetric, or about zero points within their exact range.
fn signed_matrix(
    scheme: Scheme,
    (n, k): (usize, usize),
    codes: &[i8],
    scales: &[f32],
    stream: &mut Stream,
) -> Option<QuantizedMatrix> {
    let (bits, format) = (scheme.bits, scheme.format());
    let range = match bits {
        Bits::Int8 => INT8_ZEROS,
        Bits::Int4 => bits.min()..=bits.max(),
    };
    let zeros: Vec<i8> = (0..scales.len())
        .map(|_| stream.integer(range.clone()) as i8)
        .collect();
    let parts = QuantizedParts {
        bits,
        granularity: scheme.granularity,
        n,
        k,
        codes,
        scales,
        scale_type: format.scale_type,
        zeros: (format.zero == Zero::ZeroPoint).then_some(zeros.as_slice()),
    };
    QuantizedMatrix::from_codes("case", &parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: Path = Path::Rows {
        entry: "matvec_int8",
        subgroup: "matvec_int8/subgroup",
        run_steps: None,
    };

    /// Products of scales are multiples of 1/4, so f32 sums are exact within 2^22.
    #[test]
    fn exact_cases_stay_exact_in_f32() {
        let tiles = Path::Tiles {
            entry: "matmul_int8",
            shared: "matmul_int8/shared",
            subgroup: "matmul_int8/subgroup",
            split: "matvec_int8",
            tile_k: 32,
            run_steps: None,
        };
        for (path, rows) in [(PATH, [1, 8, 3]), (tiles, [9, 17, 12])] {
            let shapes = QUICK.iter().flat_map(|(shapes, ..)| *shapes);
            let shapes = shapes.chain(CODED.iter().flat_map(|(shapes, ..)| *shapes));
            for (&(n, k, block, scheme), &m) in shapes.zip(rows.iter().cycle()) {
                let (epilogue, out) = (Epilogue::default(), FloatType::F32);
                let weight = scheme.format();
                let shape = MatmulInt8 {
                    m,
                    n,
                    k,
                    block,
                    weight,
                    epilogue,
                    out,
                    codes: false,
                };
                let launch = Int8Launch::new(path, shape).expect("a good shape");
                let case = case(path, shape, scheme, DataKind::Integers).expect("a good shape");
                let mut operands = HostOperands::default();
                case.operands
                    .iter()
                    .for_each(|(binding, words)| operands.insert(*binding, words));
                launch.for_each_sum(&operands, |index, sum| {
                    assert!(!sum.rounded, "{} element {index}", case.name);
                    let size = sum.bound.magnitude();
                    assert!(
                        size <= f64::from(1 << 22),
                        "{} element {index}: {size}",
                        case.name
                    );
                });
            }
        }
    }
}
