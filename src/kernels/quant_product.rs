//! The launch that every float x quantized product shares: `y[m, n] = finish(sum_k x[m, k] * w[n, k])`,
//! where `w[n, k] = scale[n, g] * (q[n, k] - zero[n, g])` and `finish` is bias, activation, residual.
//!
//! Codes are subtracted and widened exactly, so a term passes through one product, one scale and the
//! additions: at most `k + groups + 2` roundings in any order of summation. Above a minimum,
//! `w[n, k] = scale[n, g] * (q[n, k] - lowest) + minimum[n, g]` is rounded twice and its products once, which
//! is as many; but what is rounded is then as large as scaled code and minimum together, not as the weight.

use std::sync::Arc;

use crate::num::QuantFormat;
use crate::record::{
    Access, Bound, Cost, HostOperands, HostResults, Iterations, Launch, Output, Part, Slot, params,
};
use crate::shader::{Capabilities, Variant};

use super::bounds::{DotBound, TINY};
use super::epilogue::{BIAS, OUT, RESIDUAL, check_output, stored};
use super::fast;
use super::iterations::{product, subgroup_rows, subgroup_tile};
use super::path::{Extents, Path, Sharing, sharing};
use super::shape::{ShapeError, check_extents, check_index, extent_class, reduced_extent};
use super::split::{Streams, Tile, cut};
use super::weight::{RUN, STEP, TILE_RUN, WeightShape};
use super::{Epilogue, FloatType, Workload, WorkloadError};

/// Binding of the activations.
pub(super) const X: u32 = 1;

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
    pub path: Path,
    pub shape: MatmulQuant,
    /// Columns of the whole output; more than `shape.n` in a part.
    pub out_stride: u32,
    /// First column of the whole output that this part makes.
    pub first_column: u32,
}

impl QuantLaunch {
    pub fn new(path: Path, shape: MatmulQuant) -> Result<Self, ShapeError> {
        let kernel = path.name();
        check_extents(kernel, &[("m", shape.m.into())])?;
        path.check_rows(shape.m)?;
        let launch = Self {
            path,
            shape,
            out_stride: shape.n,
            first_column: 0,
        };
        launch.weight().check(kernel)?;
        check_index(kernel, "m * k", u64::from(shape.m) * u64::from(shape.k))?;
        check_index(kernel, "m * n", u64::from(shape.m) * u64::from(shape.n))?;
        check_storage(kernel, shape.x, shape.out, shape.n)?;
        Ok(launch)
    }

    const fn weight(&self) -> WeightShape {
        WeightShape {
            n: self.shape.n,
            k: self.shape.k,
            format: self.shape.weight,
        }
    }

    /// Rows can be read in aligned runs of eight.
    const fn aligned(&self) -> bool {
        self.shape.k.is_multiple_of(STEP)
    }

    /// Fills the slots that every variant of a quantized product shares.
    fn choose(&self, sharing: Sharing, variant: Variant) -> Variant {
        let x = match (self.shape.x, self.aligned()) {
            (FloatType::F32, true) => "f32_vec4",
            (FloatType::F16, true) => "f16_vec4",
            (FloatType::F32, false) => "f32",
            (FloatType::F16 | FloatType::Bf16, _) => "f16",
        };
        let codes = match (sharing, self.path) {
            (Sharing::Subgroup, Path::Tiles { .. }) => "bytes16",
            (Sharing::Subgroup, Path::Rows { .. }) => "bytes32",
            (Sharing::Registers | Sharing::Shared | Sharing::Rows, _) => "codes",
        };
        let variant = match (sharing, self.path) {
            (Sharing::Subgroup, Path::Rows { .. }) => self.weight().choose_runs(variant),
            _ => variant,
        };
        self.shape.epilogue.choose(
            self.weight().choose(variant.slot("x", x), codes),
            self.shape.out,
        )
    }

    /// Sum of one output element and its terms' bound.
    fn sum(
        &self,
        operands: &HostOperands<'_>,
        x: &[f32],
        row: usize,
        column: usize,
    ) -> (f64, DotBound) {
        let weight = self.weight();
        let k = self.shape.k as usize;
        let (mut sum, mut bound) = (0.0, DotBound::default());
        for at in 0..k {
            let index = weight.scale_index(column, at);
            let code = weight.code(operands, column, at) - weight.zero(operands, index);
            let scaled = weight.scale(operands, index) * f64::from(code);
            let minimum = weight.minimum(operands, index);
            let value = f64::from(x[row * k + at]);
            sum += value * (scaled + minimum);
            let larger = scaled.abs() + minimum.abs();
            bound.add((value, self.shape.x.flush_below()), (larger, TINY));
            if weight.has_minima() {
                // The scaled code or the minimum may be flushed alone.
                bound.add((value, 0.0), (2.0 * TINY, 3.0 * TINY));
            }
        }
        (sum, bound)
    }

    fn for_each_sum(
        &self,
        operands: &HostOperands<'_>,
        mut visit: impl FnMut(usize, f64, DotBound),
    ) {
        let MatmulQuant { m, n, k, .. } = self.shape;
        let x = self
            .shape
            .x
            .unpack(operands.words(X), m as usize * k as usize);
        for row in 0..m as usize {
            for column in 0..n as usize {
                let (sum, bound) = self.sum(operands, &x, row, column);
                visit(row * n as usize + column, sum, bound);
            }
        }
    }

    fn parts(&self, limit: u64, alignment: u64) -> Option<Vec<Part>> {
        let MatmulQuant {
            m,
            n,
            k,
            x,
            epilogue,
            out,
            ..
        } = self.shape;
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
            let launch = Arc::new(Self {
                shape,
                first_column,
                ..*self
            });
            Part {
                launch,
                ranges: tile.ranges,
            }
        };
        Some(tiles.into_iter().map(part).collect())
    }
}

/// The product that a workload `MxNxK` asks for: a weight format, and f16 for activations.
pub(super) fn asked_product(asked: &mut Workload<'_>) -> Result<MatmulQuant, WorkloadError> {
    let [m, n, k] = asked.extents("MxNxK")?;
    Ok(MatmulQuant {
        m,
        n,
        k,
        x: asked.float().unwrap_or(FloatType::F32),
        weight: asked.weight(),
        epilogue: Epilogue::default(),
        out: FloatType::F32,
    })
}

/// Refuses storage types the product has no path for.
pub(super) fn check_storage(
    kernel: &'static str,
    x: FloatType,
    out: FloatType,
    n: u32,
) -> Result<(), ShapeError> {
    if x == FloatType::Bf16 {
        let (value, allowed) = (x.to_string(), "f32, f16");
        return Err(ShapeError::Unsupported {
            kernel,
            name: "activation storage",
            value,
            allowed,
        });
    }
    check_output(kernel, out, n)
}

impl QuantLaunch {
    /// Shape and formats, with extents printed by `extent`.
    fn describe_with(&self, extent: impl Fn(u32) -> String) -> String {
        let MatmulQuant {
            m,
            n,
            k,
            x,
            weight,
            epilogue,
            out,
        } = self.shape;
        let scale = format!("{:?}", weight.scale_type).to_lowercase();
        let part = if self.out_stride == n {
            String::new()
        } else {
            format!(" of {}", self.out_stride)
        };
        let out = if out == FloatType::F32 {
            String::new()
        } else {
            format!(" out-{out}")
        };
        let (m, n, k) = (extent(m), extent(n), extent(k));
        format!(
            "m={m} n={n}{part} k={k} {weight} scale-{scale} x-{x}{}{out}",
            epilogue.describe()
        )
    }
}

impl Launch for QuantLaunch {
    fn kernel(&self) -> &'static str {
        self.path.name()
    }

    fn slots(&self) -> Vec<Slot> {
        let MatmulQuant {
            m,
            k,
            x,
            out,
            epilogue,
            ..
        } = self.shape;
        let (m, columns) = (u64::from(m), u64::from(self.out_stride));
        let mut slots = vec![Slot {
            binding: X,
            name: "x",
            access: Access::Read,
            bytes: m * u64::from(k) * x.bytes(),
        }];
        slots.extend(self.weight().slots());
        slots.extend(epilogue.slots(m, columns));
        slots.push(Slot {
            binding: OUT,
            name: "out",
            access: Access::Write,
            bytes: m * columns * out.bytes(),
        });
        slots
    }

    fn reduced(&self) -> Option<Arc<dyn Launch>> {
        let shape = MatmulQuant {
            m: reduced_extent(self.shape.m, 32),
            n: reduced_extent(self.shape.n, 64),
            k: self.weight().reduced_k(),
            ..self.shape
        };
        Some(Arc::new(Self::new(self.path, shape).ok()?))
    }

    fn params(&self) -> Vec<u8> {
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

    fn param_fields(&self) -> &'static [(&'static str, usize)] {
        Params::FIELDS
    }

    fn variants(&self, capabilities: &Capabilities) -> Vec<Variant> {
        let MatmulQuant { m, n, .. } = self.shape;
        let run = match self.path {
            Path::Tiles { .. } => TILE_RUN,
            Path::Rows { .. } => RUN,
        };
        let whole_runs = self.weight().group_size().is_multiple_of(run);
        let extents = Extents {
            batch: 1,
            m,
            n,
            whole_runs,
        };
        self.path
            .variants(extents, capabilities, |sharing, variant| {
                self.choose(sharing, variant)
            })
    }

    fn workgroups(&self, variant: &Variant) -> u64 {
        self.path.workgroups(variant, self.shape.m, self.shape.n)
    }

    fn iterations(&self, variant: &Variant) -> Iterations {
        let weight = self.weight();
        let (groups, group_size) = (u64::from(weight.groups()), u64::from(weight.group_size()));
        match (sharing(variant), self.path) {
            (Sharing::Subgroup, Path::Tiles { .. }) => subgroup_tile(
                variant,
                groups,
                groups * group_size.div_ceil(TILE_RUN.into()),
                4,
            ),
            (Sharing::Subgroup, Path::Rows { .. }) => {
                subgroup_rows(variant, groups, groups * group_size.div_ceil(RUN.into()), 8)
            }
            (Sharing::Registers | Sharing::Shared | Sharing::Rows, _) => {
                product(variant, groups, group_size.div_ceil(STEP.into()))
            }
        }
    }

    fn reference(&self, operands: &HostOperands<'_>) -> Vec<Output> {
        let columns = self.shape.n as usize;
        let mut values = Vec::new();
        self.for_each_sum(operands, |index, sum, _| {
            values.push(self.shape.epilogue.apply(operands, index, columns, sum));
        });
        vec![Output::new(OUT, stored(self.shape.out, values))]
    }

    fn fast(&self, operands: &HostOperands<'_>, results: &mut HostResults<'_>) -> bool {
        if self.out_stride != self.shape.n {
            return false;
        }
        let MatmulQuant { m, n, k, x, .. } = self.shape;
        let [m, n, k] = [m, n, k].map(|extent| extent as usize);
        let x = fast::Stored::new(x, operands.words(X)).all(m * k);
        let sums = fast::HostWeight::new(self.weight(), operands).product(&x, m);
        fast::fill_stored(results, OUT, (self.shape.out, m * n), |y| {
            sums.finish(self.shape.epilogue, operands, 0, y);
        });
        true
    }

    fn bound(&self, operands: &HostOperands<'_>) -> Vec<Bound> {
        let columns = self.shape.n as usize;
        let roundings = self.shape.k as usize + self.weight().groups() as usize + 2;
        let mut allowed = Vec::new();
        self.for_each_sum(operands, |index, sum, bound| {
            let error = bound.error(roundings);
            allowed.push(self.shape.epilogue.error(
                operands,
                (index, columns),
                (sum, error),
                self.shape.out,
            ));
        });
        vec![Bound::Absolute(allowed)]
    }

    fn cost(&self) -> Cost {
        let MatmulQuant {
            m, n, k, x, out, ..
        } = self.shape;
        let (m, n, k) = (f64::from(m), f64::from(n), f64::from(k));
        Cost {
            operations: 2.0 * m * n * k,
            bytes: m * k * x.bytes() as f64 + self.weight().bytes() + m * n * out.bytes() as f64,
        }
    }

    fn describe(&self) -> String {
        self.describe_with(|extent| extent.to_string())
    }

    fn shape_class(&self) -> String {
        self.describe_with(extent_class)
    }

    fn split(&self, limit: u64, alignment: u64) -> Option<Vec<Part>> {
        self.parts(limit, alignment)
    }
}
