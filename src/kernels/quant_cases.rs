//! Cases of the float x quantized products. Quick cases pair formats with activations, epilogues and
//! outputs so that each value of each appears, without the cross product: every distinct combination
//! is a pipeline to compile for each variant.

use std::sync::Arc;

use crate::num::{Granularity, ScaleRule, ScaleType, Scheme, quantize};
use crate::record::Launch;

use super::epilogue::{BIAS, RESIDUAL};
use super::quant_product::{MatmulQuant, X};
use super::weight::{CODES, SCALES, ZEROS};
use super::{Case, DataKind, Effort, Epilogue, FloatType, ShapeError};

/// Makes a launch of a shape.
pub(super) type Launcher = fn(MatmulQuant) -> Result<Arc<dyn Launch>, ShapeError>;

/// int8 with a zero point for each row.
pub(super) const INT8_ZERO_POINT: Scheme = Scheme {
    rule: ScaleRule::MinMax,
    ..Scheme::int8_channel()
};

/// int8 above f32 minima, as a GGUF file's K formats become.
pub(super) const INT8_MINIMUM: Scheme = Scheme {
    rule: ScaleRule::MinMaxFloat,
    scale_type: ScaleType::F32,
    ..Scheme::int8_group(32)
};

/// int4 above f32 minima.
const INT4_MINIMUM_F32: Scheme = Scheme {
    scale_type: ScaleType::F32,
    ..Scheme::int4_group_minimum(32)
};

/// The weight formats every quantized product is tested with.
pub(super) const FORMATS: [Scheme; 13] = [
    Scheme::int4_group(32),
    Scheme::int4_group(64),
    Scheme::int4_group_zero_point(64),
    Scheme::int4_group(24),
    Scheme::int4_channel(),
    Scheme::int8_group(32),
    Scheme::int8_channel(),
    Scheme::int8_tensor(),
    INT8_ZERO_POINT,
    Scheme::int4_group_minimum(32),
    Scheme::int4_group_minimum(24),
    INT4_MINIMUM_F32,
    INT8_MINIMUM,
];

/// Whether a format's groups tile a row.
pub(super) fn fits(scheme: &Scheme, k: u32) -> bool {
    match scheme.granularity {
        Granularity::Group(group_size) => k.is_multiple_of(group_size),
        Granularity::Tensor | Granularity::Channel => true,
    }
}

/// Data of a case that asks for exact and for random results.
const BOTH: &[DataKind] = &[DataKind::Integers, DataKind::Normal];

/// One row of the quick table: n, k, formats that link the same shader, x, epilogue, out, data.
type Quick = (
    (u32, u32),
    &'static [Scheme],
    FloatType,
    Epilogue,
    FloatType,
    &'static [DataKind],
);

const QUICK: [Quick; 9] = {
    use FloatType::{F16, F32};
    let [plain, bias_relu, residual, silu, gelu] = Epilogue::CASES;
    const INT4: &[Scheme] = &[
        Scheme::int4_group(24),
        Scheme::int4_group(32),
        Scheme::int4_group(64),
    ];
    const INT4_ZERO_POINT: &[Scheme] = &[Scheme::int4_group_zero_point(64)];
    const INT4_MINIMUM: &[Scheme] = &[
        Scheme::int4_group_minimum(32),
        Scheme::int4_group_minimum(24),
    ];
    const INT8: &[Scheme] = &[Scheme::int8_channel(), Scheme::int8_tensor()];
    // Whole steps of 16 and no whole runs of 32.
    const SIXTEENS: &[Scheme] = &[Scheme::int4_group(16), Scheme::int8_channel()];
    const ALL: &[DataKind] = &DataKind::ALL;
    [
        ((33, 192), INT4, F32, plain, F32, ALL),
        ((34, 192), INT4_ZERO_POINT, F16, bias_relu, F16, BOTH),
        ((33, 96), &[Scheme::int8_group(32)], F16, residual, F32, ALL),
        ((40, 72), INT8, F32, silu, F32, BOTH),
        ((10, 51), &[INT8_ZERO_POINT], F32, plain, F16, BOTH),
        ((12, 43), &[Scheme::int4_channel()], F16, gelu, F16, BOTH),
        ((33, 192), INT4_MINIMUM, F32, plain, F32, ALL),
        ((34, 96), &[INT8_MINIMUM], F32, residual, F32, BOTH),
        ((35, 80), SIXTEENS, F32, bias_relu, F32, BOTH),
    ]
};

/// The cases of one kernel; `rows` are the m it is tried with, in turn.
pub(super) fn quant_cases(launch: Launcher, rows: &[u32], effort: Effort) -> Vec<Case> {
    let mut cases = Vec::new();
    for (&(extents, schemes, x, epilogue, out, kinds), &m) in QUICK.iter().zip(rows.iter().cycle())
    {
        for &scheme in schemes {
            for &data in kinds {
                let (n, k) = extents;
                let weight = scheme.format();
                let shape = MatmulQuant {
                    m,
                    n,
                    k,
                    x,
                    weight,
                    epilogue,
                    out,
                };
                cases.extend(
                    QuantCase {
                        shape,
                        scheme,
                        data,
                    }
                    .build(launch),
                );
            }
        }
    }
    if effort == Effort::Full {
        cases.extend(full_cases(launch, rows));
    }
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    cases.dedup_by(|a, b| a.name == b.name);
    cases
}

/// Every format by both activations on more shapes, and every epilogue by both outputs.
fn full_cases(launch: Launcher, rows: &[u32]) -> Vec<Case> {
    let mut cases = Vec::new();
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
            for x in [FloatType::F32, FloatType::F16] {
                for &data in BOTH {
                    let (weight, epilogue) = (scheme.format(), Epilogue::default());
                    let out = FloatType::F32;
                    let shape = MatmulQuant {
                        m,
                        n,
                        k,
                        x,
                        weight,
                        epilogue,
                        out,
                    };
                    cases.extend(
                        QuantCase {
                            shape,
                            scheme,
                            data,
                        }
                        .build(launch),
                    );
                }
            }
        }
    }
    let scheme = Scheme::int4_group_zero_point(64);
    for (epilogue, &m) in Epilogue::CASES.into_iter().zip(rows.iter().cycle()) {
        for out in [FloatType::F32, FloatType::F16] {
            for data in DataKind::ALL {
                let (weight, x) = (scheme.format(), FloatType::F32);
                let shape = MatmulQuant {
                    m,
                    n: 34,
                    k: 128,
                    x,
                    weight,
                    epilogue,
                    out,
                };
                cases.extend(
                    QuantCase {
                        shape,
                        scheme,
                        data,
                    }
                    .build(launch),
                );
            }
        }
    }
    cases
}

/// Makes one case's operands.
pub(super) struct QuantCase {
    pub shape: MatmulQuant,
    pub scheme: Scheme,
    pub data: DataKind,
}

impl QuantCase {
    /// The case; `None` only when the shape itself is refused, which the shape tests cover.
    pub fn build(&self, launch: Launcher) -> Option<Case> {
        let MatmulQuant {
            m,
            n,
            k,
            x,
            epilogue,
            ..
        } = self.shape;
        let (rows, columns, length) = (m as usize, n as usize, k as usize);
        let seed = u64::from(m) << 40 | u64::from(n) << 20 | u64::from(k);
        let mut operands = vec![(X, x.pack(&self.data.values(seed, rows * length)))];
        operands.extend(weight_operands(
            self.data,
            self.scheme,
            columns,
            length,
            seed + 1,
        )?);
        if epilogue.bias {
            operands.push((
                BIAS,
                FloatType::F32.pack(&self.data.values(seed + 2, columns)),
            ));
        }
        if epilogue.residual {
            operands.push((
                RESIDUAL,
                FloatType::F32.pack(&self.data.values(seed + 3, rows * columns)),
            ));
        }
        let case = Case::new(launch(self.shape).ok()?, operands, self.data);
        Some(if epilogue.activation.is_exact() {
            case
        } else {
            case.bounded()
        })
    }
}

/// Packed codes, scales and zero points for `[n, k]` weights of one kind of data.
///
/// Integers keep every scale a power of two and every minimum a few halves, so that products stay exact.
pub(super) fn weight_operands(
    data: DataKind,
    scheme: Scheme,
    n: usize,
    k: usize,
    seed: u64,
) -> Option<Vec<(u32, Vec<u32>)>> {
    let values = match data {
        // A product of an outlier with a weight stays finite in f32 either way.
        DataKind::Integers | DataKind::Normal => DataKind::Normal.values(seed, n * k),
        other => other.values(seed, n * k),
    };
    let matrix = quantize("case", &values, n, k, &scheme).ok()?;
    let mut scales = matrix.packed_scales();
    let mut zeros = matrix.packed_zeros();
    if data == DataKind::Integers {
        let count = matrix.scales().len();
        let powers: Vec<f32> = (0..count)
            .map(|index| [0.5, 1.0, 2.0, -1.0][(index * 7 + index / 5) % 4])
            .collect();
        let pack = |values: &[f32]| match scheme.scale_type {
            ScaleType::F32 => FloatType::F32.pack(values),
            ScaleType::F16 => FloatType::F16.pack(values),
        };
        scales = pack(&powers);
        if matrix.minima().is_some() {
            let minima: Vec<f32> = (0..count)
                .map(|index| [-3.5, 1.0, 0.0, -0.5, 2.0][(index * 3 + index / 7) % 5])
                .collect();
            zeros = Some(pack(&minima));
        }
    }
    let mut operands = vec![(CODES, matrix.codes().to_vec()), (SCALES, scales)];
    operands.extend(zeros.map(|zeros| (ZEROS, zeros)));
    Some(operands)
}
