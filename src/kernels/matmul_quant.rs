//! Matrix product with quantized weights: `y[m, n] = finish(sum_k x[m, k] * w[n, k])`, where
//! `w[n, k] = scale[n, g] * (q[n, k] - zero[n, g])` and `finish` is bias, activation, residual.
//!
//! Codes are subtracted and widened exactly, so a term passes through one product, one scale and the
//! additions: at most `k + groups + 2` roundings in any order of summation.

use std::sync::Arc;

use crate::num::{Granularity, QuantFormat, Scheme, quantize};
use crate::record::{Access, Bound, Cost, HostOperands, Launch, Output, Part, Slot, Values, params};
use crate::shader::{Capabilities, Edit, Variant};

use super::bounds::{DotBound, TINY};
use super::epilogue::{BIAS, OUT, RESIDUAL};
use super::shape::{ShapeError, check_extents, check_index};
use super::split::{Streams, Tile, cut};
use super::weight::{CODES, SCALES, STEP, WeightShape, ZEROS};
use super::{Case, DataKind, Effort, Epilogue, FloatType, Kernel};

const NAME: &str = "matmul_quant";
const X: u32 = 1;

params! {
    struct Params {
        m: u32,
        n: u32,
        k: u32,
        row_words: u32,
        groups: u32,
        group_steps: u32,
        scale_row_stride: u32,
        out_stride: u32,
        first_column: u32,
    }
}

/// Shape and formats of one product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MatmulQuant {
    /// Rows of the activations.
    pub m: u32,
    /// Rows of the weight (columns of the output).
    pub n: u32,
    /// Length of the sums.
    pub k: u32,
    /// Storage of the activations: f32 or f16.
    pub x: FloatType,
    /// Format of the weight.
    pub weight: QuantFormat,
    /// What follows the sums.
    pub epilogue: Epilogue,
    /// Storage of the output: f32, or f16 when `n` is even.
    pub out: FloatType,
}

/// The launch: a product, or the part of one that fits a binding limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct QuantLaunch {
    pub shape: MatmulQuant,
    /// Columns of the whole output; more than `shape.n` in a part.
    pub out_stride: u32,
    /// First column of the whole output that this part makes.
    pub first_column: u32,
}

impl MatmulQuant {
    /// Checks the shape and makes a launch of it.
    ///
    /// # Errors
    /// [`ShapeError`] for empty extents, a k that is no multiple of the group, unsupported storage.
    pub fn launch(self) -> Result<Arc<dyn Launch>, ShapeError> {
        Ok(Arc::new(QuantLaunch::new(NAME, self)?))
    }
}

impl QuantLaunch {
    pub fn new(kernel: &'static str, shape: MatmulQuant) -> Result<Self, ShapeError> {
        check_extents(kernel, &[("m", shape.m.into())])?;
        let launch = Self { shape, out_stride: shape.n, first_column: 0 };
        launch.weight().check(kernel)?;
        check_index(kernel, "m * k", u64::from(shape.m) * u64::from(shape.k))?;
        check_index(kernel, "m * n", u64::from(shape.m) * u64::from(shape.n))?;
        check_storage(kernel, shape.x, shape.out, shape.n)?;
        Ok(launch)
    }

    pub const fn weight(&self) -> WeightShape {
        WeightShape { n: self.shape.n, k: self.shape.k, format: self.shape.weight }
    }

    /// Rows can be read in aligned runs of eight.
    pub const fn aligned(&self) -> bool {
        self.shape.k.is_multiple_of(STEP)
    }

    pub fn slots(&self) -> Vec<Slot> {
        let MatmulQuant { m, k, x, out, epilogue, .. } = self.shape;
        let (m, columns) = (u64::from(m), u64::from(self.out_stride));
        let mut slots = vec![Slot { binding: X, name: "x", access: Access::Read, bytes: m * u64::from(k) * x.bytes() }];
        slots.extend(self.weight().slots());
        slots.extend(epilogue.slots(m, columns));
        slots.push(Slot { binding: OUT, name: "out", access: Access::Write, bytes: m * columns * out.bytes() });
        slots
    }

    pub fn params(&self) -> Vec<u8> {
        let weight = self.weight();
        let params = Params {
            m: self.shape.m,
            n: self.shape.n,
            k: self.shape.k,
            row_words: weight.row_words(),
            groups: weight.groups(),
            group_steps: weight.group_size().div_ceil(STEP),
            scale_row_stride: weight.scale_row_stride(),
            out_stride: self.out_stride,
            first_column: self.first_column,
        };
        bytemuck::bytes_of(&params).to_vec()
    }

    pub const fn param_fields() -> &'static [(&'static str, usize)] {
        Params::FIELDS
    }

    /// Fills the slots that every variant of a quantized product shares.
    pub fn choose(&self, variant: Variant) -> Variant {
        let x = match (self.shape.x, self.aligned()) {
            (FloatType::F32, true) => "f32_vec4",
            (FloatType::F16, true) => "f16_vec4",
            (FloatType::F32, false) => "f32",
            (FloatType::F16 | FloatType::Bf16, _) => "f16",
        };
        self.shape.epilogue.choose(self.weight().choose(variant.slot("x", x), "codes"), self.shape.out)
    }

    /// Sum of one output element and its terms' bound.
    fn sum(&self, operands: &HostOperands<'_>, x: &[f32], row: usize, column: usize) -> (f64, DotBound) {
        let weight = self.weight();
        let k = self.shape.k as usize;
        let (mut sum, mut bound) = (0.0, DotBound::default());
        for at in 0..k {
            let index = weight.scale_index(column, at);
            let code = weight.code(operands, column, at) - weight.zero(operands, index);
            let w = weight.scale(operands, index) * f64::from(code);
            let value = f64::from(x[row * k + at]);
            sum += value * w;
            bound.add((value, self.shape.x.flush_below()), (w, TINY));
        }
        (sum, bound)
    }

    fn for_each_sum(&self, operands: &HostOperands<'_>, mut visit: impl FnMut(usize, f64, DotBound)) {
        let MatmulQuant { m, n, k, .. } = self.shape;
        let x = self.shape.x.unpack(operands.words(X), m as usize * k as usize);
        for row in 0..m as usize {
            for column in 0..n as usize {
                let (sum, bound) = self.sum(operands, &x, row, column);
                visit(row * n as usize + column, sum, bound);
            }
        }
    }

    pub fn reference(&self, operands: &HostOperands<'_>) -> Vec<Output> {
        let columns = self.shape.n as usize;
        let mut values = Vec::new();
        self.for_each_sum(operands, |index, sum, _| {
            values.push(self.shape.epilogue.apply(operands, index, columns, sum));
        });
        vec![Output::new(OUT, stored(self.shape.out, values))]
    }

    pub fn bound(&self, operands: &HostOperands<'_>) -> Vec<Bound> {
        let columns = self.shape.n as usize;
        let roundings = self.shape.k as usize + self.weight().groups() as usize + 2;
        let mut allowed = Vec::new();
        self.for_each_sum(operands, |index, sum, bound| {
            let error = bound.error(roundings);
            allowed.push(self.shape.epilogue.error(operands, (index, columns), (sum, error), self.shape.out));
        });
        vec![Bound::Absolute(allowed)]
    }

    pub fn cost(&self) -> Cost {
        let MatmulQuant { m, n, k, x, out, .. } = self.shape;
        let (m, n, k) = (f64::from(m), f64::from(n), f64::from(k));
        Cost {
            operations: 2.0 * m * n * k,
            bytes: m * k * x.bytes() as f64 + self.weight().bytes() + m * n * out.bytes() as f64,
        }
    }

    pub fn describe(&self) -> String {
        let MatmulQuant { m, n, k, x, weight, epilogue, out } = self.shape;
        let scale = format!("{:?}", weight.scale_type).to_lowercase();
        let part = if self.out_stride == n { String::new() } else { format!(" of {}", self.out_stride) };
        let out = if out == FloatType::F32 { String::new() } else { format!(" out-{out}") };
        format!("m={m} n={n}{part} k={k} {weight} scale-{scale} x-{x}{}{out}", epilogue.describe())
    }

    pub fn parts(&self, limit: u64, alignment: u64) -> Option<Vec<(Self, Tile)>> {
        let MatmulQuant { m, n, k, x, epilogue, out, .. } = self.shape;
        let columns = u64::from(self.out_stride);
        let mut streams = Streams {
            by_row: vec![(X, u64::from(k) * x.bytes()), (OUT, columns * out.bytes())],
            by_column: self.weight().row_streams(),
            whole: Vec::new(),
        };
        if epilogue.bias {
            streams.whole.push((BIAS, 4 * columns));
        }
        if epilogue.residual {
            streams.by_row.push((RESIDUAL, 4 * columns));
        }
        let tiles = cut(m, n, &streams, limit, alignment)?;
        let part = |tile: Tile| {
            let shape = MatmulQuant {
                m: tile.rows.end - tile.rows.start,
                n: tile.columns.end - tile.columns.start,
                ..self.shape
            };
            let first_column = self.first_column + tile.columns.start;
            (Self { shape, out_stride: self.out_stride, first_column }, tile)
        };
        Some(tiles.into_iter().map(part).collect())
    }
}

/// Refuses storage types the product has no path for.
pub(super) fn check_storage(kernel: &'static str, x: FloatType, out: FloatType, n: u32) -> Result<(), ShapeError> {
    if x == FloatType::Bf16 {
        let (value, allowed) = (x.to_string(), "f32, f16");
        return Err(ShapeError::Unsupported { kernel, name: "activation storage", value, allowed });
    }
    check_output(kernel, out, n)
}

/// Refuses output types that rows of `n` elements cannot be stored in.
pub(super) fn check_output(kernel: &'static str, out: FloatType, n: u32) -> Result<(), ShapeError> {
    if out == FloatType::Bf16 || (out == FloatType::F16 && !n.is_multiple_of(2)) {
        let (value, allowed) = (format!("{out} with n = {n}"), "f32, or f16 with an even n");
        return Err(ShapeError::Unsupported { kernel, name: "output storage", value, allowed });
    }
    Ok(())
}

/// Values as the output's storage type.
pub(super) fn stored(out: FloatType, values: Vec<f64>) -> Values {
    match out {
        FloatType::F32 => Values::F32(values),
        FloatType::F16 => Values::F16(values),
        FloatType::Bf16 => Values::Bf16(values),
    }
}

impl Launch for QuantLaunch {
    fn kernel(&self) -> &'static str {
        NAME
    }

    fn describe(&self) -> String {
        self.describe()
    }

    fn slots(&self) -> Vec<Slot> {
        self.slots()
    }

    fn params(&self) -> Vec<u8> {
        self.params()
    }

    fn param_fields(&self) -> &'static [(&'static str, usize)] {
        Self::param_fields()
    }

    fn variants(&self, capabilities: &Capabilities) -> Vec<Variant> {
        let register = |tile_m, tile_n, lanes| {
            let variant = self.choose(Variant::new("matmul_quant"));
            variant.number("TILE_M", tile_m).number("TILE_N", tile_n).number("WORKGROUP_SIZE", lanes)
        };
        let shared = |lanes_m, lanes_n, tile_m, tile_n| {
            self.choose(Variant::new("matmul_quant/shared"))
                .number("LANES_M", lanes_m)
                .number("LANES_N", lanes_n)
                .number("TILE_M", tile_m)
                .number("TILE_N", tile_n)
                .number("TILE_K", 16)
                .number("WORKGROUP_SIZE", lanes_m * lanes_n)
        };
        let mut variants = vec![register(4, 4, 8), register(8, 4, 8), shared(8, 8, 4, 4), shared(16, 16, 4, 4)];
        if !capabilities.software {
            // Hardware wants the work shared; a CPU wants it in registers without barriers.
            variants.rotate_left(2);
        }
        variants
    }

    fn workgroups(&self, variant: &Variant) -> u64 {
        let (tile_m, tile_n) = (variant.get("TILE_M"), variant.get("TILE_N"));
        let MatmulQuant { m, n, .. } = self.shape;
        let tiles = |rows: u32, columns: u32| u64::from(m.div_ceil(rows)) * u64::from(n.div_ceil(columns));
        if variant.entry() == "matmul_quant/shared" {
            tiles(tile_m * variant.get("LANES_M"), tile_n * variant.get("LANES_N"))
        } else {
            tiles(tile_m, tile_n).div_ceil(u64::from(variant.get("WORKGROUP_SIZE")))
        }
    }

    fn reference(&self, operands: &HostOperands<'_>) -> Vec<Output> {
        self.reference(operands)
    }

    fn bound(&self, operands: &HostOperands<'_>) -> Vec<Bound> {
        self.bound(operands)
    }

    fn cost(&self) -> Cost {
        self.cost()
    }

    fn split(&self, limit: u64, alignment: u64) -> Option<Vec<Part>> {
        let parts = self.parts(limit, alignment)?;
        Some(parts.into_iter().map(|(part, tile)| Part { launch: Arc::new(part), ranges: tile.ranges }).collect())
    }
}

/// Registry entry.
pub static KERNEL: Kernel = Kernel {
    name: NAME,
    summary: "x [m, k] times int8 or int4 weights [n, k], dequantized on the fly",
    cases,
    broken: BROKEN,
    expected_failures: &[],
};

/// The weight formats every quantized product is tested with, for a k they divide.
pub(super) fn formats(k: u32) -> Vec<Scheme> {
    let all = [
        Scheme::int4_group(32),
        Scheme::int4_group(64),
        Scheme::int4_group_zero_point(64),
        Scheme::int4_group(24),
        Scheme::int4_channel(),
        Scheme::int8_group(32),
        Scheme::int8_channel(),
        Scheme::int8_tensor(),
        Scheme { rule: crate::num::ScaleRule::MinMax, ..Scheme::int8_channel() },
    ];
    let fits = |scheme: &Scheme| match scheme.granularity {
        Granularity::Group(group_size) => k.is_multiple_of(group_size),
        Granularity::Tensor | Granularity::Channel => true,
    };
    all.into_iter().filter(fits).collect()
}

fn cases(effort: Effort) -> Vec<Case> {
    let mut cases = Vec::new();
    let plain = Epilogue::default();
    let mut shapes = vec![(9, 33, 192), (17, 40, 96), (12, 10, 51)];
    if effort == Effort::Full {
        shapes.extend([(64, 64, 256), (33, 129, 1024), (1, 1, 1), (70, 66, 320)]);
    }
    for &(m, n, k) in &shapes {
        for scheme in formats(k) {
            for x in [FloatType::F32, FloatType::F16] {
                for data in [DataKind::Integers, DataKind::Normal] {
                    let shape = MatmulQuant { m, n, k, x, weight: scheme.format(), epilogue: plain, out: FloatType::F32 };
                    cases.extend(QuantCase { shape, scheme, data }.build(MatmulQuant::launch));
                }
            }
        }
    }
    cases.extend(extra_cases(MatmulQuant::launch, 10));
    cases
}

/// Every kind of data, every epilogue and both output types on one shape with `m` rows.
pub(super) fn extra_cases(
    launch: fn(MatmulQuant) -> Result<Arc<dyn Launch>, ShapeError>,
    m: u32,
) -> Vec<Case> {
    let (n, k) = (34, 128);
    let scheme = Scheme::int4_group_zero_point(64);
    let mut cases = Vec::new();
    let base = MatmulQuant {
        m,
        n,
        k,
        x: FloatType::F32,
        weight: scheme.format(),
        epilogue: Epilogue::default(),
        out: FloatType::F32,
    };
    for data in DataKind::ALL {
        for x in [FloatType::F32, FloatType::F16] {
            cases.extend(QuantCase { shape: MatmulQuant { x, ..base }, scheme, data }.build(launch));
        }
    }
    for epilogue in Epilogue::CASES {
        for out in [FloatType::F32, FloatType::F16] {
            for data in [DataKind::Integers, DataKind::Normal] {
                cases.extend(QuantCase { shape: MatmulQuant { epilogue, out, ..base }, scheme, data }.build(launch));
            }
        }
    }
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    cases.dedup_by(|a, b| a.name == b.name);
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
    pub fn build(&self, launch: fn(MatmulQuant) -> Result<Arc<dyn Launch>, ShapeError>) -> Option<Case> {
        let MatmulQuant { m, n, k, x, epilogue, .. } = self.shape;
        let (rows, columns, length) = (m as usize, n as usize, k as usize);
        let seed = u64::from(m) << 40 | u64::from(n) << 20 | u64::from(k);
        let mut operands = vec![(X, x.pack(&self.data.values(seed, rows * length)))];
        operands.extend(weight_operands(self.data, self.scheme, columns, length, seed + 1)?);
        if epilogue.bias {
            operands.push((BIAS, FloatType::F32.pack(&self.data.values(seed + 2, columns))));
        }
        if epilogue.residual {
            operands.push((RESIDUAL, FloatType::F32.pack(&self.data.values(seed + 3, rows * columns))));
        }
        let case = Case::new(launch(self.shape).ok()?, operands, self.data);
        Some(if epilogue.activation.is_exact() { case } else { case.bounded() })
    }
}

/// Packed codes, scales and zero points for `[n, k]` weights of one kind of data.
///
/// Integers keep every scale a power of two, so that products stay exact.
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
    if data == DataKind::Integers {
        let count = matrix.scales().len();
        let powers: Vec<f32> = (0..count).map(|index| [0.5, 1.0, 2.0, -1.0][(index * 7 + index / 5) % 4]).collect();
        scales = match scheme.scale_type {
            crate::num::ScaleType::F32 => FloatType::F32.pack(&powers),
            crate::num::ScaleType::F16 => FloatType::F16.pack(&powers),
        };
    }
    let mut operands = vec![(CODES, matrix.codes().to_vec()), (SCALES, scales)];
    operands.extend(matrix.packed_zeros().map(|zeros| (ZEROS, zeros)));
    Some(operands)
}

const BROKEN: &[Edit] = &[
    Edit {
        name: "swapped_nibbles",
        module: "codes/int4",
        find: "unpack4xU8(word & 0x0f0f0f0fu)",
        replace: "unpack4xU8((word >> 4u) & 0x0f0f0f0fu)",
    },
    Edit {
        name: "int4_offset_off_by_one",
        module: "codes/int4",
        find: "unpack4xU8((word >> 4u) & 0x0f0f0f0fu)) - 8.0",
        replace: "unpack4xU8((word >> 4u) & 0x0f0f0f0fu)) - 7.0",
    },
    Edit {
        name: "unsigned_int8",
        module: "codes/int8",
        find: "vec4<f32>(unpack4xI8(codes[at + 1u]))",
        replace: "vec4<f32>(unpack4xU8(codes[at + 1u]))",
    },
    Edit {
        name: "dropped_last_step",
        module: "matmul_quant",
        find: "step < (group + 1u) * params.group_steps",
        replace: "step + 1u < (group + 1u) * params.group_steps",
    },
    Edit {
        name: "scale_of_the_next_group",
        module: "matmul_quant",
        find: "* params.scale_row_stride + group;",
        replace: "* params.scale_row_stride + min(group + 1u, params.groups - 1u);",
    },
    Edit {
        name: "zero_point_ignored",
        module: "matmul_quant",
        find: "zero[j] = f32(load_zero(index));",
        replace: "zero[j] = 0.0;",
    },
    Edit {
        name: "zero_point_unsigned",
        module: "zero/stored",
        find: "extractBits(bitcast<i32>(zeros[index / 4u]), 8u * (index & 3u), 8u)",
        replace: "i32(extractBits(zeros[index / 4u], 8u * (index & 3u), 8u))",
    },
    Edit {
        name: "no_row_guard",
        module: "matmul_quant",
        find: "if (row < params.m) {",
        replace: "if (row < params.m + 1u) {",
    },
    Edit {
        name: "missing_barrier_before_use",
        module: "matmul_quant/shared",
        find: "        workgroupBarrier();\n        for (var half_step",
        replace: "        for (var half_step",
    },
    Edit {
        name: "shared_scale_of_the_first_group",
        module: "matmul_quant/shared",
        find: "params.scale_row_stride + step / params.group_steps;",
        replace: "params.scale_row_stride;",
    },
    Edit {
        name: "shared_tail_of_x_not_cleared",
        module: "matmul_quant/shared",
        find: "let steps = (params.k + 7u) / 8u;",
        replace: "let steps = params.k / 8u;",
    },
];
