//! The launch of a product: its variants, grid, reference and bound.

use std::sync::Arc;

use crate::kernels::FloatType;
use crate::kernels::bounds::{DotBound, gamma};
use crate::kernels::epilogue::{OUT, stored};
use crate::kernels::iterations::{register_tile, shared_tile, split_steps, subgroup_tile};
use crate::kernels::path::{Extents, Path, SPLIT_TILE, Sharing, sharing};
use crate::kernels::shape::{ShapeError, check_extents, check_index, extent_class, reduced_extent};
use crate::record::{
    Access, Bound, Cost, HostOperands, HostResults, Iterations, Launch, Output, Part, Slot, params,
};
use crate::shader::{Capabilities, Variant};

use super::operand::Operand;
use super::{A, B, MatmulDense, NAME, Precision, cooperative, matvec};

/// Register entry for operands in quads along k.
const VEC4: &str = "matmul_dense/vec4";
const SHARED: &str = "matmul_dense/shared";
const SPLIT: &str = "matmul_dense/split";

params! {
    struct Params {
        batch: u32,
        m: u32,
        n: u32,
        k: u32,
        a_first: u32,
        a_batch_stride: u32,
        a_row_stride: u32,
        a_k_stride: u32,
        b_batch_stride: u32,
        b_column_stride: u32,
        b_k_stride: u32,
        out_stride: u32,
        first_column: u32,
    }
}

/// The launch: a product, or the part of one that fits a binding limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DenseLaunch {
    pub shape: MatmulDense,
    /// Rows of the whole A; more than `shape.m` in a part.
    pub a_extent: u32,
    /// Element of A that the first row starts at.
    pub a_first: u32,
    /// Columns of the whole output; more than `shape.n` in a part.
    pub out_stride: u32,
    /// First column of the whole output that this part makes.
    pub first_column: u32,
}

impl DenseLaunch {
    pub fn new(shape: MatmulDense) -> Result<Self, ShapeError> {
        let MatmulDense {
            batch,
            m,
            n,
            k,
            a,
            b,
            precision,
            out,
            ..
        } = shape;
        let extents = [("batch", batch), ("m", m), ("n", n), ("k", k)];
        check_extents(NAME, &extents.map(|(name, value)| (name, value.into())))?;
        // Two factors first: three could pass the 64 bits they are multiplied in.
        check_index(NAME, "m * k", shape.operand_a().matrix())?;
        check_index(NAME, "n * k", shape.operand_b().matrix())?;
        check_index(NAME, "m * n", u64::from(m) * u64::from(n))?;
        check_index(NAME, "batch * m * k", shape.operand_a().elements(batch))?;
        check_index(NAME, "batch * n * k", shape.operand_b().elements(batch))?;
        check_index(
            NAME,
            "batch * m * n",
            u64::from(batch) * u64::from(m) * u64::from(n),
        )?;
        if out != FloatType::F32 && !n.is_multiple_of(2) {
            // A word would hold elements of two rows.
            return Err(ShapeError::Unsupported {
                kernel: NAME,
                name: "output storage",
                value: format!("{out} with n = {n}"),
                allowed: "f32, or f16 or bf16 with an even n",
            });
        }
        if precision == Precision::F16Multiply && (a, b) != (FloatType::F16, FloatType::F16) {
            return Err(ShapeError::Unsupported {
                kernel: NAME,
                name: "operand storage for f16 products",
                value: format!("{a} and {b}"),
                allowed: "f16 and f16",
            });
        }
        Ok(Self {
            shape,
            a_extent: m,
            a_first: 0,
            out_stride: n,
            first_column: 0,
        })
    }

    /// A as it lies in memory, rows of other parts included.
    pub const fn stored_a(&self) -> Operand {
        Operand {
            extent: self.a_extent,
            ..self.shape.operand_a()
        }
    }

    /// Entries of the product, from how the operands lie.
    fn path(&self) -> Path {
        Path::Tiles {
            entry: if self.in_quads() { VEC4 } else { NAME },
            shared: SHARED,
            subgroup: "matmul_dense/subgroup",
            split: SPLIT,
            tile_k: 16,
            run_steps: None,
        }
    }

    /// Both operands can be read in aligned runs of four along k.
    const fn in_quads(&self) -> bool {
        self.shape.operand_a().in_runs(4) && self.shape.operand_b().in_runs(4)
    }

    /// Fills the slots of one variant.
    pub(super) fn choose(
        &self,
        sharing: Sharing,
        variant: Variant,
        capabilities: &Capabilities,
    ) -> Variant {
        let (a, b) = (self.shape.operand_a(), self.shape.operand_b());
        let half = self.shape.precision == Precision::F16Multiply && capabilities.f16;
        let variant = variant.slot("product", if half { "f16" } else { "f32" });
        let variant = self.shape.epilogue.choose(variant, self.shape.out);
        let load = |variant: Variant, a_quads: bool, b_quads: bool| {
            variant
                .slot("a", module(a.storage, a_quads))
                .slot("b", module(b.storage, b_quads))
        };
        match sharing {
            Sharing::Registers => load(variant, self.in_quads(), self.in_quads()),
            Sharing::Shared => load(variant, false, false),
            Sharing::Subgroup | Sharing::Rows => {
                let a_step = if a.in_runs(8) { "along" } else { "any" };
                let b_step = if b.in_runs(8) {
                    "along"
                } else if b.across_k_in_runs(4) && self.shape.k.is_multiple_of(8) {
                    "across"
                } else {
                    "any"
                };
                let variant = load(variant, a_step != "any", b_step != "any")
                    .slot("step_a", a_step)
                    .slot("step_b", b_step);
                if sharing == Sharing::Rows {
                    variant.number("TILE_N", SPLIT_TILE.1)
                } else {
                    variant
                }
            }
        }
    }

    /// Visits each output element with its sum and the error allowed for it.
    fn for_each_sum(&self, operands: &HostOperands<'_>, mut visit: impl FnMut(usize, f64, f64)) {
        let MatmulDense {
            batch,
            m,
            n,
            k,
            precision,
            ..
        } = self.shape;
        let (a, b) = (self.shape.operand_a(), self.shape.operand_b());
        let left = a
            .storage
            .unpack(operands.words(A), a.elements(batch) as usize);
        let right = b
            .storage
            .unpack(operands.words(B), b.elements(batch) as usize);
        let mut index = 0;
        for matrix in 0..batch as usize {
            for row in 0..m as usize {
                for column in 0..n as usize {
                    let (mut sum, mut bound, mut rounded) = (0.0, DotBound::default(), 0.0);
                    for at in 0..k as usize {
                        let left = f64::from(left[a.at(matrix, row, at)]);
                        let right = f64::from(right[b.at(matrix, column, at)]);
                        sum += left * right;
                        bound.add(
                            (left, a.storage.flush_below()),
                            (right, b.storage.flush_below()),
                        );
                        rounded += precision.product_error(left * right);
                    }
                    let roundings = k as usize;
                    visit(
                        index,
                        sum,
                        bound.error(roundings) + (1.0 + gamma(roundings)) * rounded,
                    );
                    index += 1;
                }
            }
        }
    }
}

impl DenseLaunch {
    /// Shape and formats, with extents printed by `extent`.
    fn describe_with(&self, extent: impl Fn(u32) -> String) -> String {
        let MatmulDense {
            batch,
            m,
            n,
            k,
            precision,
            epilogue,
            out,
            ..
        } = self.shape;
        let (a, b) = (
            self.shape.operand_a().describe('m'),
            self.shape.operand_b().describe('n'),
        );
        let part = if self.out_stride == n {
            String::new()
        } else {
            format!(" of {}", self.out_stride)
        };
        let product = match precision {
            Precision::Full => "",
            Precision::F16Multiply => " product-f16",
        };
        let out = if out == FloatType::F32 {
            String::new()
        } else {
            format!(" out-{out}")
        };
        let (batch, m, n, k) = (extent(batch), extent(m), extent(n), extent(k));
        format!(
            "batch={batch} m={m} n={n}{part} k={k} {a} {b}{product}{}{out}",
            epilogue.describe()
        )
    }
}

impl Launch for DenseLaunch {
    fn kernel(&self) -> &'static str {
        NAME
    }

    fn describe(&self) -> String {
        self.describe_with(|extent| extent.to_string())
    }

    fn shape_class(&self) -> String {
        self.describe_with(extent_class)
    }

    fn slots(&self) -> Vec<Slot> {
        let MatmulDense {
            batch,
            m,
            epilogue,
            out,
            ..
        } = self.shape;
        let (rows, columns) = (u64::from(batch) * u64::from(m), u64::from(self.out_stride));
        let read = |binding, name, bytes| Slot {
            binding,
            name,
            access: Access::Read,
            bytes,
        };
        let mut slots = vec![
            read(A, "matrix_a", self.stored_a().bytes(batch)),
            read(B, "matrix_b", self.shape.operand_b().bytes(batch)),
        ];
        slots.extend(epilogue.slots(rows, columns));
        slots.push(Slot {
            binding: OUT,
            name: "out",
            access: Access::Write,
            bytes: rows * columns * out.bytes(),
        });
        slots
    }

    fn reduced(&self) -> Option<Arc<dyn Launch>> {
        let shape = MatmulDense {
            batch: self.shape.batch.min(2),
            m: reduced_extent(self.shape.m, 32),
            n: reduced_extent(self.shape.n, 64),
            k: reduced_extent(self.shape.k, 512),
            ..self.shape
        };
        Some(Arc::new(Self::new(shape).ok()?))
    }

    fn params(&self) -> Vec<u8> {
        let (a, b) = (self.stored_a(), self.shape.operand_b());
        let params = Params {
            batch: self.shape.batch,
            m: self.shape.m,
            n: self.shape.n,
            k: self.shape.k,
            a_first: self.a_first,
            a_batch_stride: a.batch_stride(),
            a_row_stride: a.extent_stride(),
            a_k_stride: a.k_stride(),
            b_batch_stride: b.batch_stride(),
            b_column_stride: b.extent_stride(),
            b_k_stride: b.k_stride(),
            out_stride: self.out_stride,
            first_column: self.first_column,
        };
        bytemuck::bytes_of(&params).to_vec()
    }

    fn param_fields(&self) -> &'static [(&'static str, usize)] {
        Params::FIELDS
    }

    fn variants(&self, capabilities: &Capabilities) -> Vec<Variant> {
        let MatmulDense { batch, m, n, .. } = self.shape;
        let extents = Extents {
            batch,
            m,
            n,
            whole_runs: true,
        };
        let others = self
            .path()
            .variants(extents, capabilities, |sharing, variant| {
                self.choose(sharing, variant, capabilities)
            });
        let written_out = self.written_out(capabilities);
        let cooperative = self.cooperative(capabilities).into_iter();
        // A lane of a GPU wants neighbours of what other lanes load, which these do not give it.
        let vectors = self.vectors(capabilities);
        let (before, after) = if capabilities.software {
            (vectors, Vec::new())
        } else {
            (Vec::new(), vectors)
        };
        let all = before.into_iter().chain(cooperative).chain(others);
        all.chain(after).chain(written_out).collect()
    }

    fn workgroups(&self, variant: &Variant) -> u64 {
        let MatmulDense { batch, m, n, .. } = self.shape;
        if matvec::is(variant) {
            return u64::from(batch) * matvec::tiles(variant, n);
        }
        if cooperative::is(variant) {
            return u64::from(batch) * cooperative::tiles(m, n);
        }
        if sharing(variant) == Sharing::Registers {
            // Lanes take tiles one after the other, over the ends of matrices.
            let (tile_m, tile_n) = (variant.get("TILE_M"), variant.get("TILE_N"));
            let tiles = u64::from(m.div_ceil(tile_m)) * u64::from(n.div_ceil(tile_n));
            return (u64::from(batch) * tiles).div_ceil(variant.get("WORKGROUP_SIZE").into());
        }
        u64::from(batch) * self.path().workgroups(variant, m, n)
    }

    fn iterations(&self, variant: &Variant) -> Iterations {
        let k = u64::from(self.shape.k);
        if matvec::is(variant) {
            return matvec::iterations(variant, k);
        }
        if cooperative::is(variant) {
            return cooperative::iterations(variant, k);
        }
        let number = |name| u64::from(variant.get(name));
        match sharing(variant) {
            Sharing::Registers => {
                let step = if variant.entry() == VEC4 { 4 } else { 1 };
                register_tile((number("TILE_M"), number("TILE_N")), 0, k.div_ceil(step))
            }
            Sharing::Shared => {
                let tile = (number("TILE_M"), number("TILE_N"));
                let (tile_k, lanes) = (number("TILE_K"), number("WORKGROUP_SIZE"));
                let elements = (tile.0 * number("LANES_M") + tile.1 * number("LANES_N")) * tile_k;
                let loads = elements.div_ceil(lanes) + 1;
                shared_tile(tile, k.div_ceil(tile_k), loads, tile_k)
            }
            Sharing::Subgroup => subgroup_tile(variant, 1, k.div_ceil(8), 2),
            Sharing::Rows => split_steps(variant, k.div_ceil(8), 2),
        }
    }

    fn reference(&self, operands: &HostOperands<'_>) -> Vec<Output> {
        let MatmulDense {
            n, epilogue, out, ..
        } = self.shape;
        let mut values = Vec::new();
        self.for_each_sum(operands, |index, sum, _| {
            values.push(epilogue.apply(operands, index, n as usize, sum));
        });
        vec![Output::new(OUT, stored(out, values))]
    }

    fn fast(&self, operands: &HostOperands<'_>, results: &mut HostResults<'_>) -> bool {
        if self.out_stride != self.shape.n || self.a_extent != self.shape.m {
            return false;
        }
        self.compute(operands, results);
        true
    }

    fn bound(&self, operands: &HostOperands<'_>) -> Vec<Bound> {
        let MatmulDense {
            n, epilogue, out, ..
        } = self.shape;
        let mut allowed = Vec::new();
        self.for_each_sum(operands, |index, sum, error| {
            allowed.push(epilogue.error(operands, (index, n as usize), (sum, error), out));
        });
        vec![Bound::Absolute(allowed)]
    }

    fn cost(&self) -> Cost {
        let MatmulDense {
            batch,
            m,
            n,
            k,
            out,
            ..
        } = self.shape;
        let outputs = f64::from(batch) * f64::from(m) * f64::from(n);
        let read = self.shape.operand_a().bytes(batch) + self.shape.operand_b().bytes(batch);
        Cost {
            operations: 2.0 * outputs * f64::from(k),
            bytes: read as f64 + outputs * out.bytes() as f64,
        }
    }

    fn split(&self, limit: u64, alignment: u64) -> Option<Vec<Part>> {
        let parts = self.parts(limit, alignment)?;
        let part = |(launch, ranges)| Part {
            launch: Arc::new(launch) as Arc<dyn Launch>,
            ranges,
        };
        Some(parts.into_iter().map(part).collect())
    }
}

/// Module that loads one element of a storage type, or four.
pub(super) const fn module(storage: FloatType, quads: bool) -> &'static str {
    match (storage, quads) {
        (_, false) => storage.name(),
        (FloatType::F32, true) => "f32_vec4",
        (FloatType::F16, true) => "f16_vec4",
        (FloatType::Bf16, true) => "bf16_vec4",
    }
}
