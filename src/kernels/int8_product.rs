//! The launch that the integer products share: activations as `quantize_rows` writes them times int8 or
//! int4 weights, `y[m, n] = finish(sum over segments of sx * sw * (sum q_w q_x - zero * sum q_x))`, and above a
//! minimum `sx * minimum * sum q_x` more in each segment, with the lowest code for a zero point.
//!
//! A segment is the longest run with one scale on either side: the smaller of the activations' block
//! and the weight's group. Its integers are exact; int4 codes enter as `q + 8`, and that offset leaves
//! through the same sums of activation codes as a zero point. Then at most one rounding to f32 (from
//! 2^24 on), two products and the additions: `segments + 3` roundings, one more for large sums, and one more for
//! the addition of the minimum's part, which passes through two products itself: its integer is always exact.
//! Codes of activations are within 127, as `quantize_rows` writes them.
//!
//! Results may be stored as codes for a next product, under a scale found beforehand: `clamp(round_half_even(y * r),
//! -127, 127)` with `r` the scale's reciprocal in f32, the static codes of `quantize_rows`, rows padded as it pads them.
//! With `y` within `e` a device's code lies between those of `y r - d` and `y r + d`, `d = e r + u (|y| + e) r`.

use std::sync::Arc;

use crate::num::{Bits, QuantFormat};
use crate::record::{
    Access, Bound, Cost, HostOperands, HostResults, Iterations, Launch, Output, Part, Slot,
    example_operands, params,
};
use crate::shader::{Capabilities, Variant};

use super::bounds::{DotBound, TINY};
use super::epilogue::{BIAS, OUT, RESIDUAL, stored};
use super::fast;
use super::int8_cases::exact_rows;
use super::iterations::{integer_rows, looped, product, subgroup_rows, subgroup_tile};
use super::path::{Extents, Path, Sharing, sharing};
use super::quant_product::check_storage;
use super::row_codes::RowCodes;
use super::shape::{
    ShapeError, check_extents, check_index, check_multiple, extent_class, reduced_extent,
};
use super::split::{Streams, Tile, cut_columns_by};
use super::weight::{RUN, STEP, TILE_RUN, WeightShape};
use super::{Epilogue, FloatType, Workload, WorkloadError};

/// Binding of the activations' codes.
pub(super) const X: u32 = 1;
/// Binding of the activations' scales and code sums.
pub(super) const BLOCKS: u32 = 5;
/// Binding of the scale of results that are codes, and its reciprocal: in the place of the residual, which they have
/// not.
pub(super) const CODE_SCALE: u32 = RESIDUAL;

/// Rows of codes are padded to so many.
const CODES_TOGETHER: u32 = 16;

/// Longest segment whose sum of products of two int8 codes fits i32: 128 * 128 * 131,071 < 2^31.
const MAX_SEGMENT: u64 = 131_071;

/// The same with a zero point or offset taken off: |q - zero| <= 255 and |x| <= 128, and
/// 255 * 128 * 65,536 < 2^31. What comes before the subtraction may wrap, which cancels.
const MAX_OFFSET_SEGMENT: u64 = 65_536;

params! {
    struct Params {
        m: u32,
        n: u32,
        x_row_words: u32,
        row_words: u32,
        segments: u32,
        segment_steps: u32,
        tile_steps: u32,
        group_segments: u32,
        scale_row_stride: u32,
        out_stride: u32,
        first_column: u32,
        scales_start: u32,
        sums_start: u32,
    }
}

/// Shape and formats of one integer product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MatmulInt8 {
    /// Rows of the activations.
    pub m: u32,
    /// Rows of the weight (columns of the output).
    pub n: u32,
    /// Length of the sums.
    pub k: u32,
    /// Elements of a row of activations that share a scale.
    pub block: u32,
    /// Format of the weight.
    pub weight: QuantFormat,
    /// What follows the sums.
    pub epilogue: Epilogue,
    /// Storage of the output: f32, or f16 when `n` is even.
    pub out: FloatType,
    /// Store int8 codes instead of `out`, as `quantize_rows` writes those of activations `[m, n]`, under a scale that is
    /// an operand: f32 `[2]` at binding 7, the scale and its reciprocal. Without residual, `out` f32.
    pub codes: bool,
}

impl MatmulInt8 {
    const fn weight(&self) -> WeightShape {
        WeightShape {
            n: self.n,
            k: self.k,
            format: self.weight,
        }
    }

    /// Elements that share a scale on either side: the `sum_block` the activations need.
    pub fn segment(&self) -> u32 {
        self.block.min(self.weight().group_size())
    }

    /// The rows that results which are codes have, for any `m`.
    pub(super) const fn coded_rows(&self, n: u32) -> RowCodes {
        RowCodes {
            m: self.m,
            k: n,
            segment: n,
        }
    }

    pub(super) fn rows(&self) -> RowCodes {
        RowCodes {
            m: self.m,
            k: self.k,
            segment: self.segment(),
        }
    }
}

/// Subgroup entry of the tiles for segments of at most 512 elements.
const SEGMENTS: &str = "matmul_int8/segments";

/// Subgroup entry of the tiles with two rows of activations in each integer, and its tile.
const PAIRS: &str = "matmul_int8/pairs";
const PAIRS_TILE: (u32, u32) = (2, 4);

/// Shortest segment for which a software adapter's first guess is [`PAIRS`].
const PAIRS_SEGMENT: u32 = 64;

/// The launch: a product, or the part of one that fits a binding limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Int8Launch {
    pub path: Path,
    pub shape: MatmulInt8,
    /// Rows of all activations; more than `shape.m` in a part.
    rows: u32,
    /// First row of all activations that this part reads.
    first_row: u32,
    /// Columns of the whole output; more than `shape.n` in a part.
    pub(super) out_stride: u32,
    /// First column of the whole output that this part makes.
    first_column: u32,
}

/// One output element before the epilogue.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sum {
    pub value: f64,
    pub bound: DotBound,
    /// Some integer sum is too large to be exact in f32.
    pub rounded: bool,
}

impl Int8Launch {
    pub fn new(path: Path, shape: MatmulInt8) -> Result<Self, ShapeError> {
        let kernel = path.name();
        check_extents(
            kernel,
            &[("m", shape.m.into()), ("block", shape.block.into())],
        )?;
        path.check_rows(shape.m)?;
        let weight = shape.weight().check(kernel)?;
        let block = ("block", u64::from(shape.block));
        let group = ("group_size", u64::from(weight.group_size()));
        check_multiple(kernel, ("k", shape.k.into()), block)?;
        if block.1 > group.1 {
            check_multiple(kernel, block, group)?;
        } else {
            check_multiple(kernel, group, block)?;
        }
        shape.rows().check(kernel)?;
        check_segment(kernel, shape)?;
        check_index(kernel, "m * n", u64::from(shape.m) * u64::from(shape.n))?;
        check_storage(kernel, FloatType::F32, shape.out, shape.n)?;
        if shape.codes && (shape.epilogue.residual || shape.out != FloatType::F32) {
            return Err(ShapeError::Unsupported {
                kernel,
                name: "codes as output",
                value: format!("{} output{}", shape.out, shape.epilogue.describe()),
                allowed: "f32, without residual",
            });
        }
        if shape.codes {
            shape.coded_rows(shape.n).check(kernel)?;
        }
        Ok(Self {
            path,
            shape,
            rows: shape.m,
            first_row: 0,
            out_stride: shape.n,
            first_column: 0,
        })
    }

    /// Every segment is whole wide steps; a row that is one segment may end in padding, which is zero.
    fn wide(&self) -> bool {
        self.whole(RUN)
    }

    /// Every segment is whole runs of so many elements, with the padding of a row that is one segment.
    fn whole(&self, run: u32) -> bool {
        let rows = self.shape.rows();
        rows.segment.is_multiple_of(run)
            || (rows.segments() == 1 && (4 * rows.row_words()).is_multiple_of(run))
    }

    fn choose(&self, sharing: Sharing, variant: Variant) -> Variant {
        let variant = match (sharing, self.path) {
            (Sharing::Subgroup, Path::Tiles { .. }) => {
                // Short segments need no integers between the products and the scales.
                let short = self.shape.rows().segment <= 512;
                let variant = if short {
                    Variant::new(SEGMENTS)
                } else {
                    variant
                };
                let variant = variant.slot("quad_product", "float");
                self.shape.weight().choose(variant, "bytes16")
            }
            (Sharing::Subgroup, Path::Rows { .. }) => {
                let variant = self.choose_runs(variant).slot("quad_product", "float");
                self.shape.weight().choose(variant, "bytes32")
            }
            (Sharing::Registers | Sharing::Shared | Sharing::Rows, _) => {
                self.choose_packed(variant)
            }
        };
        self.finish(variant)
    }

    /// Fills the slots of what follows the sums.
    fn finish(&self, variant: Variant) -> Variant {
        let variant = self.shape.epilogue.choose(variant, self.shape.out);
        match (
            self.shape.codes,
            self.shape.n.is_multiple_of(CODES_TOGETHER),
        ) {
            (false, _) => variant,
            (true, true) => variant.slot("store", "codes"),
            (true, false) => variant.slot("store", "codes_padded"),
        }
    }

    /// As [`WeightShape::choose_runs`], of segments.
    fn choose_runs(&self, variant: Variant) -> Variant {
        let rows = self.shape.rows();
        let one_run = rows.segment == RUN;
        let is_group = rows.segment == self.shape.weight().group_size();
        let pairs = one_run && is_group && rows.segments().is_multiple_of(2);
        variant
            .number("RUNS", u32::from(one_run))
            .number("GROUPS", if pairs { 2 } else { 1 })
    }

    /// Two rows of activations in each integer, for subgroups of this size.
    fn pairs(&self, subgroup: Option<u32>) -> Option<Variant> {
        let (Path::Tiles { .. }, Some(size)) = (self.path, subgroup) else {
            return None;
        };
        let (tile_m, tile_n) = PAIRS_TILE;
        let variant = Variant::new(PAIRS)
            .number("TILE_M", tile_m)
            .number("TILE_N", tile_n)
            .number("SUBGROUP", size);
        let variant = self.shape.weight().choose(variant, "bytes16");
        Some(self.finish(variant))
    }

    fn choose_packed(&self, variant: Variant) -> Variant {
        let packed = match (self.shape.weight.bits, self.wide()) {
            (Bits::Int8, true) => "int8_wide",
            (Bits::Int8, false) => "int8",
            (Bits::Int4, true) => "int4_wide",
            (Bits::Int4, false) => "int4",
        };
        let weight = self.shape.weight();
        weight.choose_scales(variant).slot("packed", packed)
    }

    /// Sum of one output element.
    fn sum(&self, operands: &HostOperands<'_>, row: usize, column: usize) -> Sum {
        let (weight, rows) = (self.shape.weight(), self.shape.rows());
        let (x, length) = (operands.words(X), rows.segment as usize);
        let mut sum = Sum {
            value: 0.0,
            bound: DotBound::default(),
            rounded: false,
        };
        for segment in 0..rows.segments() as usize {
            let begin = segment * length;
            let index = weight.scale_index(column, begin);
            let zero = i64::from(weight.zero(operands, index));
            let (mut integer, mut x_sum) = (0, 0);
            for at in begin..begin + length {
                let x_code = i64::from(rows.code(x, row, at));
                integer += (i64::from(weight.code(operands, column, at)) - zero) * x_code;
                x_sum += x_code;
            }
            let x_scale = f64::from(operands.f32(BLOCKS)[rows.scale_at(row, segment)]);
            let w_scale = weight.scale(operands, index);
            let mut add = |integer: i64, w_factor: f64| {
                // Subnormal factors, alone or multiplied, may be flushed and take their term with them.
                let sizes = [x_scale, w_factor, x_scale * w_factor];
                let flush = if sizes.iter().any(|size| size.abs() < TINY) {
                    f64::INFINITY
                } else {
                    0.0
                };
                sum.value += x_scale * integer as f64 * w_factor;
                sum.bound
                    .add((x_scale * integer as f64, flush), (w_factor, 0.0));
                sum.rounded |= integer.abs() > 1 << 24;
            };
            add(integer, w_scale);
            if weight.has_minima() {
                add(x_sum, weight.minimum(operands, index));
            }
        }
        sum
    }

    pub fn for_each_sum(&self, operands: &HostOperands<'_>, mut visit: impl FnMut(usize, Sum)) {
        let (m, n) = (self.shape.m as usize, self.shape.n as usize);
        for row in 0..m {
            for column in 0..n {
                visit(row * n + column, self.sum(operands, row, column));
            }
        }
    }

    fn parts(&self, limit: u64, alignment: u64) -> Option<Vec<Part>> {
        let MatmulInt8 { m, n, epilogue, .. } = self.shape;
        let columns = u64::from(self.out_stride);
        let x_row_bytes = 4 * u64::from(self.shape.rows().row_words());
        let mut streams = Streams {
            by_row: vec![(X, x_row_bytes), (OUT, self.out_row_bytes())],
            by_column: self.shape.weight().row_streams(),
            // Scales and sums of all rows lie in one buffer, so that cannot be cut by rows.
            whole: vec![(BLOCKS, self.all_rows().block_bytes())],
        };
        if epilogue.bias {
            streams.whole.push((BIAS, 4 * columns));
        }
        if epilogue.residual {
            streams.by_row.push((RESIDUAL, 4 * columns));
        }
        if self.shape.codes {
            streams.whole.push((CODE_SCALE, 8));
        }
        // Codes are padded to 16 of a row behind the last, so no part but that may end elsewhere.
        let together = if self.shape.codes {
            CODES_TOGETHER.into()
        } else {
            2
        };
        let tiles = cut_columns_by(together, (m, n), &streams, limit, alignment)?;
        let part = |tile: Tile| {
            let shape = MatmulInt8 {
                m: tile.rows.end - tile.rows.start,
                n: tile.columns.end - tile.columns.start,
                ..self.shape
            };
            let launch = Arc::new(Self {
                shape,
                first_row: self.first_row + tile.rows.start,
                first_column: self.first_column + tile.columns.start,
                ..*self
            });
            Part {
                launch,
                ranges: tile.ranges,
            }
        };
        Some(tiles.into_iter().map(part).collect())
    }

    fn all_rows(&self) -> RowCodes {
        RowCodes {
            m: self.rows,
            ..self.shape.rows()
        }
    }
}

/// The product that a workload `MxNxK` asks for: a weight format, and `b64` and the like for blocks of
/// activations instead of rows.
pub(super) fn asked_product(asked: &mut Workload<'_>) -> Result<MatmulInt8, WorkloadError> {
    let [m, n, k] = asked.extents("MxNxK")?;
    let block = asked.take("b64 and the like", |word| {
        word.strip_prefix('b')?.parse().ok()
    });
    Ok(MatmulInt8 {
        m,
        n,
        k,
        block: block.unwrap_or(k),
        weight: asked.weight(),
        epilogue: Epilogue::default(),
        out: FloatType::F32,
        codes: asked
            .take("codes", |word| (word == "codes").then_some(()))
            .is_some(),
    })
}

/// Refuses segments whose integer sums could leave i32.
fn check_segment(kernel: &'static str, shape: MatmulInt8) -> Result<(), ShapeError> {
    let weight = shape.weight();
    let offset = shape.weight.bits == Bits::Int4 || weight.has_zeros() || weight.has_minima();
    let (limit, reason) = if offset {
        (
            MAX_OFFSET_SEGMENT,
            "i32 sums of codes less a zero point or offset",
        )
    } else {
        (MAX_SEGMENT, "i32 sums of products of int8 codes")
    };
    let value = u64::from(shape.segment());
    if value > limit {
        let name = "elements that share both scales";
        return Err(ShapeError::TooLarge {
            kernel,
            name,
            value,
            limit,
            reason,
        });
    }
    Ok(())
}

impl Int8Launch {
    /// Shape and formats, with extents printed by `extent`.
    fn describe_with(&self, extent: impl Fn(u32) -> String) -> String {
        let MatmulInt8 {
            m,
            n,
            k,
            block,
            weight,
            epilogue,
            out,
            codes,
        } = self.shape;
        let scale = format!("{:?}", weight.scale_type).to_lowercase();
        let part = if self.out_stride == n {
            String::new()
        } else {
            format!(" of {}", self.out_stride)
        };
        let out = match out {
            _ if codes => " out-int8".to_owned(),
            FloatType::F32 => String::new(),
            FloatType::F16 | FloatType::Bf16 => format!(" out-{out}"),
        };
        let block = if block == k {
            "row".to_owned()
        } else {
            format!("b{block}")
        };
        let (m, n, k) = (extent(m), extent(n), extent(k));
        format!(
            "m={m} n={n}{part} k={k} {weight} scale-{scale} x-int8-{block}{}{out}",
            epilogue.describe()
        )
    }
}

impl Launch for Int8Launch {
    fn kernel(&self) -> &'static str {
        self.path.name()
    }

    fn describe(&self) -> String {
        self.describe_with(|extent| extent.to_string())
    }

    fn shape_class(&self) -> String {
        self.describe_with(extent_class)
    }

    fn example(&self, seed: u64) -> Vec<(u32, Vec<u32>)> {
        let mut operands = example_operands(&self.slots(), seed);
        // Sums of codes must be those of the codes.
        for (binding, words) in exact_rows(self.all_rows(), self.shape.block, seed) {
            let mut words = words;
            if binding == X {
                let row_words = self.shape.rows().row_words() as usize;
                words.drain(..self.first_row as usize * row_words);
                words.truncate(self.shape.m as usize * row_words);
            }
            operands.retain(|(other, _)| *other != binding);
            operands.push((binding, words));
        }
        operands
    }

    fn slots(&self) -> Vec<Slot> {
        let MatmulInt8 { m, epilogue, .. } = self.shape;
        let (m, columns) = (u64::from(m), u64::from(self.out_stride));
        let slot = |binding, name, access, bytes| Slot {
            binding,
            name,
            access,
            bytes,
        };
        let mut slots = vec![slot(X, "x", Access::Read, self.shape.rows().code_bytes())];
        slots.extend(self.shape.weight().slots());
        slots.push(slot(
            BLOCKS,
            "blocks",
            Access::Read,
            self.all_rows().block_bytes(),
        ));
        slots.extend(epilogue.slots(m, columns));
        if self.shape.codes {
            slots.push(slot(CODE_SCALE, "code_scale", Access::Read, 8));
        }
        slots.push(slot(OUT, "out", Access::Write, m * self.out_row_bytes()));
        slots
    }

    fn reduced(&self) -> Option<Arc<dyn Launch>> {
        let MatmulInt8 { m, n, k, block, .. } = self.shape;
        let (k, block) = if block == k {
            let k = self.shape.weight().reduced_k();
            (k, k)
        } else {
            // Blocks and groups divide each other, so a few of the longer ones stay whole.
            let longer = block.max(self.shape.weight().group_size());
            (longer * (1024 / longer).clamp(1, k / longer), block)
        };
        let shape = MatmulInt8 {
            m: reduced_extent(m, 32),
            n: reduced_extent(n, 64),
            k,
            block,
            ..self.shape
        };
        Some(Arc::new(Self::new(self.path, shape).ok()?))
    }

    fn params(&self) -> Vec<u8> {
        let (weight, rows) = (self.shape.weight(), self.shape.rows());
        let step = if self.wide() { RUN } else { STEP };
        let params = Params {
            m: self.shape.m,
            n: self.shape.n,
            x_row_words: rows.row_words(),
            row_words: weight.row_words(),
            segments: rows.segments(),
            segment_steps: rows.segment.div_ceil(step),
            tile_steps: rows.segment.div_ceil(TILE_RUN),
            group_segments: weight.group_size() / rows.segment,
            scale_row_stride: weight.scale_row_stride(),
            out_stride: if self.shape.codes {
                4 * self.shape.coded_rows(self.out_stride).row_words()
            } else {
                self.out_stride
            },
            first_column: self.first_column,
            scales_start: self.first_row * rows.segments(),
            sums_start: (self.rows + self.first_row) * rows.segments(),
        };
        bytemuck::bytes_of(&params).to_vec()
    }

    fn param_fields(&self) -> &'static [(&'static str, usize)] {
        Params::FIELDS
    }

    fn variants(&self, capabilities: &Capabilities) -> Vec<Variant> {
        let MatmulInt8 { m, n, .. } = self.shape;
        let whole_runs = match self.path {
            Path::Tiles { .. } => self.whole(TILE_RUN),
            Path::Rows { .. } => self.wide(),
        };
        let extents = Extents {
            batch: 1,
            m,
            n,
            whole_runs,
        };
        let variants = self
            .path
            .variants(extents, capabilities, |sharing, variant| {
                self.choose(sharing, variant)
            });
        // A lane makes whole words of codes.
        let makes_words = |variant: &Variant| {
            let columns = if variant.has("TILE_N") {
                "TILE_N"
            } else {
                "ROWS"
            };
            !self.shape.codes || variant.get(columns).is_multiple_of(4)
        };
        let variants: Vec<Variant> = variants.into_iter().filter(makes_words).collect();
        // The integer product of the adapter first; some CPUs multiply floats faster.
        let other = |variant: &Variant| variant.clone().slot("quad_product", "dot4");
        let has_other = |variant: &&Variant| variant.chosen("quad_product").is_some();
        let others: Vec<Variant> = variants.iter().filter(has_other).map(other).collect();
        let pairs = self.pairs(capabilities.subgroup_size().filter(|_| whole_runs));
        if capabilities.software {
            let (first, last) = if self.shape.segment() < PAIRS_SEGMENT {
                (None, pairs)
            } else {
                (pairs, None)
            };
            let others = others.into_iter().take(1);
            if let Path::Rows { .. } = self.path {
                return variants.into_iter().chain(others).collect();
            }
            return first
                .into_iter()
                .chain(others)
                .chain(variants)
                .chain(last)
                .collect();
        }
        let (floats, mut all): (Vec<Variant>, Vec<Variant>) = variants
            .into_iter()
            .partition(|variant| has_other(&variant));
        all.extend(others);
        all.extend(floats.into_iter().take(1));
        all.extend(pairs);
        all
    }

    fn workgroups(&self, variant: &Variant) -> u64 {
        self.path.workgroups(variant, self.shape.m, self.shape.n)
    }

    fn iterations(&self, variant: &Variant) -> Iterations {
        let rows = self.shape.rows();
        let (segments, length) = (u64::from(rows.segments()), u64::from(rows.segment));
        let count = match (sharing(variant), self.path) {
            (Sharing::Subgroup, Path::Tiles { .. }) => subgroup_tile(
                variant,
                segments,
                segments * length.div_ceil(TILE_RUN.into()),
                4,
            ),
            (Sharing::Subgroup, Path::Rows { .. }) => {
                subgroup_rows(variant, segments, segments * length.div_ceil(RUN.into()), 8)
            }
            // Counted in narrow steps; wide ones take fewer.
            (Sharing::Rows, _) => integer_rows(variant, segments, length.div_ceil(STEP.into())),
            (Sharing::Registers | Sharing::Shared, _) => {
                product(variant, segments, length.div_ceil(STEP.into()))
            }
        };
        // Behind the last code of a row, for each row of a tile.
        let padding = if self.shape.codes {
            let rows = if variant.has("TILE_M") {
                variant.get("TILE_M")
            } else {
                variant.get("COLUMNS")
            };
            let lanes = match sharing(variant) {
                Sharing::Subgroup => variant.get("SUBGROUP"),
                Sharing::Registers | Sharing::Shared | Sharing::Rows => 1,
            };
            looped(3, 0) * u64::from(rows * lanes)
        } else {
            0
        };
        Iterations {
            unrolled: count.unrolled + padding,
            rolled: count.rolled + padding,
        }
    }

    fn reference(&self, operands: &HostOperands<'_>) -> Vec<Output> {
        let columns = self.shape.n as usize;
        if self.shape.codes {
            return vec![self.codes(operands)];
        }
        let mut values = Vec::new();
        self.for_each_sum(operands, |index, sum| {
            values.push(
                self.shape
                    .epilogue
                    .apply(operands, index, columns, sum.value),
            );
        });
        vec![Output::new(OUT, stored(self.shape.out, values))]
    }

    fn fast(&self, operands: &HostOperands<'_>, results: &mut HostResults<'_>) -> bool {
        let MatmulInt8 { m, n, .. } = self.shape;
        if self.out_stride != n || self.rows != m {
            return false;
        }
        let x = fast::HostRows {
            shape: self.shape.rows(),
            codes: operands.words(X),
            scales: operands.f32(BLOCKS),
        };
        let sums = fast::HostWeight::new(self.shape.weight(), operands).integer_product(x);
        let len = m as usize * n as usize;
        if self.shape.codes {
            let mut y = vec![0.0; len];
            sums.finish(self.shape.epilogue, operands, 0, &mut y);
            self.store_codes(operands, &y, results);
            return true;
        }
        fast::fill_stored(results, OUT, (self.shape.out, len), |y| {
            sums.finish(self.shape.epilogue, operands, 0, y);
        });
        true
    }

    fn bound(&self, operands: &HostOperands<'_>) -> Vec<Bound> {
        let columns = self.shape.n as usize;
        let minima = usize::from(self.shape.weight().has_minima());
        let roundings = self.shape.rows().segments() as usize + 3 + minima;
        let epilogue = self.shape.epilogue;
        let error = |index: usize, sum: Sum| {
            let error = sum.bound.error(roundings + usize::from(sum.rounded));
            let place = (index, columns);
            epilogue.error(operands, place, (sum.value, error), self.shape.out)
        };
        if self.shape.codes {
            return vec![self.code_bound(operands, error)];
        }
        let mut allowed = Vec::new();
        self.for_each_sum(operands, |index, sum| allowed.push(error(index, sum)));
        vec![Bound::Absolute(allowed)]
    }

    fn cost(&self) -> Cost {
        let MatmulInt8 { m, n, k, out, .. } = self.shape;
        let rows = self.shape.rows();
        let out_bytes = if self.shape.codes {
            self.shape.coded_rows(n).code_bytes() as f64
        } else {
            f64::from(m) * f64::from(n) * out.bytes() as f64
        };
        Cost {
            operations: 2.0 * f64::from(m) * f64::from(n) * f64::from(k),
            bytes: (rows.code_bytes() + rows.block_bytes()) as f64
                + self.shape.weight().bytes()
                + out_bytes,
        }
    }

    fn split(&self, limit: u64, alignment: u64) -> Option<Vec<Part>> {
        self.parts(limit, alignment)
    }
}
