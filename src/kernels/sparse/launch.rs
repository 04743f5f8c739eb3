//! The launch that the three kernels share: checks, bindings, parameters, definition, bound and cost.

use std::sync::Arc;

use crate::kernels::bounds::DotBound;
use crate::kernels::epilogue::{BIAS, OUT, RESIDUAL, stored};
use crate::kernels::guess::{Candidate, Speed, order};
use crate::kernels::quant_product::check_storage;
use crate::kernels::shape::{
    ShapeError, check_extents, check_index, check_multiple, extent_class, reduced_extent,
};
use crate::kernels::split::{Streams, Tile, cut};
use crate::kernels::weight::STEP;
use crate::kernels::{FloatType, sparse_block, sparse_delta, sparse_nm};
use crate::num::{SparseLayout, StoredFormat};
use crate::record::{
    Access, Bound, Cost, HostOperands, Iterations, Launch, Output, Part, Slot, params,
};
use crate::shader::{Capabilities, Variant};

use super::{SparseMatmul, Stored, X};

params! {
    struct Params {
        m: u32,
        n: u32,
        k: u32,
        row_words: u32,
        index_words: u32,
        groups: u32,
        group_steps: u32,
        scale_stride: u32,
        scale_row_stride: u32,
        group_shift: u32,
        out_stride: u32,
    }
}

/// Runs of stored values that share a scale, as shaders walk them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Runs {
    /// Runs along a stored row, or along a row of a block.
    pub groups: u32,
    /// Steps of eight values of a run.
    pub steps: u32,
}

/// A product with a pruned weight, or the rows of x of one that fit a binding limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SparseLaunch {
    pub shape: SparseMatmul,
}

impl SparseLaunch {
    pub fn new(shape: SparseMatmul) -> Result<Self, ShapeError> {
        let kernel = shape.kernel();
        let SparseMatmul { m, n, k, .. } = shape;
        check_extents(kernel, &[("m", m.into()), ("n", n.into()), ("k", k.into())])?;
        if let SparseLayout::Nm(pattern) = shape.format.layout {
            let group = ("the group", u64::from(pattern.m()));
            check_multiple(kernel, ("k", k.into()), group)?;
        }
        check_index(kernel, "m * k", u64::from(m) * u64::from(k))?;
        check_index(kernel, "m * n", u64::from(m) * u64::from(n))?;
        let values = shape.values();
        values.check(kernel, shape.format.layout)?;
        shape.check_stored(kernel)?;
        let words = u64::from(values.rows) * u64::from(values.columns);
        check_index(kernel, "stored values", words)?;
        check_storage(kernel, shape.x, shape.out, n)?;
        Ok(Self { shape })
    }

    pub(in crate::kernels) fn runs(&self) -> Runs {
        let values = self.shape.values();
        let (run, length) = match self.shape.format.layout {
            SparseLayout::Nm(_) => (values.group_size(), values.columns),
            SparseLayout::Block(shape) => {
                let columns = shape.columns() as u32;
                (values.group_size().min(columns), columns)
            }
            SparseLayout::Delta(_) => (STEP, STEP),
        };
        Runs {
            groups: length / run,
            steps: run.div_ceil(STEP),
        }
    }

    /// Fills the slots that every variant has.
    pub(in crate::kernels) fn choose(&self, variant: Variant) -> Variant {
        let variant = self.shape.values().choose(variant);
        self.shape.epilogue.choose(variant, self.shape.out)
    }

    /// Module that loads single activations.
    pub(in crate::kernels) const fn x1(&self) -> &'static str {
        match self.shape.x {
            FloatType::F32 => "f32",
            FloatType::F16 | FloatType::Bf16 => "f16",
        }
    }

    /// Module that loads eight activations at a time, unguarded where rows are whole runs of `run`.
    pub(in crate::kernels) const fn x8(&self, run: u32) -> &'static str {
        let whole = self.shape.k.is_multiple_of(8) && self.shape.k.is_multiple_of(run);
        match (self.shape.x, whole) {
            (FloatType::F32, true) => "f32_vec4",
            (FloatType::F32, false) => "f32",
            (FloatType::F16 | FloatType::Bf16, true) => "f16_vec4",
            (FloatType::F16 | FloatType::Bf16, false) => "f16",
        }
    }

    /// Variants in the order of the cheap model, from how many rows of x and of the weight a workgroup
    /// makes.
    pub(in crate::kernels) fn ordered(
        &self,
        variants: Vec<(Variant, (u32, u32), Speed)>,
        capabilities: &Capabilities,
    ) -> Vec<Variant> {
        let SparseMatmul { m, n, .. } = self.shape;
        let padded = |extent: u32, tile: u32| f64::from(extent.div_ceil(tile)) * f64::from(tile);
        let candidates = variants
            .into_iter()
            .map(|(variant, (rows, columns), speed)| Candidate {
                outputs: padded(m, rows) * padded(n, columns),
                workgroups: u64::from(m.div_ceil(rows)) * u64::from(n.div_ceil(columns)),
                variant,
                speed,
            });
        order(candidates.collect(), capabilities)
    }

    fn for_each_sum(&self, operands: &HostOperands<'_>, mut visit: impl FnMut(usize, f64, f64)) {
        let SparseMatmul { m, n, k, x, .. } = self.shape;
        let (m, n, k) = (m as usize, n as usize, k as usize);
        let values = self.shape.values();
        let activations = x.unpack(operands.words(X), m * k);
        for row in 0..n {
            let places = self.shape.places(operands, row);
            let weights: Vec<(f64, f64)> = places
                .iter()
                .map(|place| values.value(operands, place.stored_row, place.stored_column))
                .collect();
            for at in 0..m {
                let (mut sum, mut bound) = (0.0, DotBound::default());
                for (place, &weight) in places.iter().zip(&weights) {
                    let value = f64::from(activations[at * k + place.column]);
                    sum += value * weight.0;
                    bound.add((value, x.flush_below()), weight);
                }
                // Shaders may add zeros for padding to whole steps of every lane of a subgroup.
                let roundings = places.len() + 2 * STEP as usize + 2;
                visit(at * n + row, sum, bound.error(roundings));
            }
        }
    }

    fn describe_with(
        &self,
        extent: impl Fn(u32) -> String,
        count: impl Fn(u32) -> String,
    ) -> String {
        let SparseMatmul {
            m,
            n,
            k,
            x,
            format,
            stored,
            epilogue,
            out,
        } = self.shape;
        let scale = match format.values {
            StoredFormat::Quantized(format) => {
                format!(" scale-{:?}", format.scale_type).to_lowercase()
            }
            StoredFormat::Float(_) => String::new(),
        };
        let stored = match format.layout {
            SparseLayout::Nm(_) => String::new(),
            SparseLayout::Block(_) => format!(" blocks={}", count(stored.count)),
            SparseLayout::Delta(_) => format!(" entries={}", count(stored.count)),
        };
        let out = if out == FloatType::F32 {
            String::new()
        } else {
            format!(" out-{out}")
        };
        let (m, n, k) = (extent(m), extent(n), extent(k));
        format!(
            "m={m} n={n} k={k} {format}{scale}{stored} x-{x}{}{out}",
            epilogue.describe()
        )
    }
}

impl Launch for SparseLaunch {
    fn kernel(&self) -> &'static str {
        self.shape.kernel()
    }

    fn describe(&self) -> String {
        self.describe_with(|extent| extent.to_string(), |count| count.to_string())
    }

    fn shape_class(&self) -> String {
        // What is stored, in sixteenths of the whole.
        let most = match self.shape.format.layout {
            SparseLayout::Block(shape) => {
                let [rows, columns] = shape.grid(self.shape.n as usize, self.shape.k as usize);
                rows as u64 * columns as u64
            }
            SparseLayout::Nm(_) | SparseLayout::Delta(_) => {
                u64::from(self.shape.n) * u64::from(self.shape.k)
            }
        };
        self.describe_with(extent_class, |count| {
            format!("{}/16", (u64::from(count) * 16).div_ceil(most))
        })
    }

    fn slots(&self) -> Vec<Slot> {
        let SparseMatmul {
            m,
            n,
            k,
            x,
            out,
            epilogue,
            ..
        } = self.shape;
        let (m, n) = (u64::from(m), u64::from(n));
        let mut slots = vec![Slot {
            binding: X,
            name: "x",
            access: Access::Read,
            bytes: m * u64::from(k) * x.bytes(),
        }];
        slots.extend(self.shape.values().slots());
        slots.extend(self.shape.place_slots());
        slots.extend(epilogue.slots(m, n));
        slots.push(Slot {
            binding: OUT,
            name: "out",
            access: Access::Write,
            bytes: m * n * out.bytes(),
        });
        slots
    }

    fn reduced(&self) -> Option<Arc<dyn Launch>> {
        let SparseMatmul {
            m, n, k, stored, ..
        } = self.shape;
        let (few_n, few_k) = (reduced_extent(n, 64), reduced_extent(k, 1024));
        // Multiples stay multiples: groups, vectors and blocks.
        let shape = match self.shape.format.layout {
            SparseLayout::Nm(_) if k == few_k || self.runs().groups > 1 => {
                // Groups of scales tile rows of one length only.
                SparseMatmul {
                    m: m.min(40),
                    n: few_n,
                    ..self.shape
                }
            }
            SparseLayout::Nm(pattern) => {
                let k = few_k / pattern.m() * pattern.m();
                let kept = pattern.kept(k as usize) as u32;
                SparseMatmul {
                    m: m.min(40),
                    n: few_n,
                    k,
                    stored: Stored::of_nm(few_n, kept),
                    ..self.shape
                }
            }
            SparseLayout::Block(shape) => {
                let few_n = few_n.next_multiple_of(shape.rows() as u32).min(n);
                let rows = few_n.div_ceil(shape.rows() as u32);
                let longest = stored.count.div_ceil(n.div_ceil(shape.rows() as u32));
                SparseMatmul {
                    m: m.min(40),
                    n: few_n,
                    stored: Stored {
                        count: rows * longest,
                        longest,
                    },
                    ..self.shape
                }
            }
            SparseLayout::Delta(_) => {
                let longest = (stored.count / n).next_multiple_of(self.shape.row_multiple());
                SparseMatmul {
                    m: m.min(40),
                    n: few_n,
                    stored: Stored {
                        count: few_n * longest,
                        longest,
                    },
                    ..self.shape
                }
            }
        };
        Some(Arc::new(Self::new(shape).ok()?))
    }

    fn example(&self, seed: u64) -> Vec<(u32, Vec<u32>)> {
        super::example::operands(&self.shape, &self.slots(), seed)
    }

    fn dense(&self) -> Option<Arc<dyn Launch>> {
        self.shape.dense().ok()
    }

    fn params(&self) -> Vec<u8> {
        let SparseMatmul { m, n, k, .. } = self.shape;
        let values = self.shape.values();
        let Runs { groups, steps } = self.runs();
        let scale_stride = values.scale_stride();
        let scale_row_stride = match self.shape.format.layout {
            SparseLayout::Block(shape) if scale_stride > 1 => scale_stride / shape.rows() as u32,
            SparseLayout::Nm(_) | SparseLayout::Block(_) | SparseLayout::Delta(_) => 0,
        };
        let group_shift = if scale_stride > 1 {
            values.group_size().trailing_zeros()
        } else {
            31
        };
        let params = Params {
            m,
            n,
            k,
            row_words: values.row_words(),
            index_words: self.shape.index_words(),
            groups,
            group_steps: steps,
            scale_stride,
            scale_row_stride,
            group_shift,
            out_stride: n,
        };
        bytemuck::bytes_of(&params).to_vec()
    }

    fn param_fields(&self) -> &'static [(&'static str, usize)] {
        Params::FIELDS
    }

    fn variants(&self, capabilities: &Capabilities) -> Vec<Variant> {
        match self.shape.format.layout {
            SparseLayout::Nm(pattern) => sparse_nm::variants(self, pattern, capabilities),
            SparseLayout::Block(shape) => sparse_block::variants(self, shape, capabilities),
            SparseLayout::Delta(bits) => sparse_delta::variants(self, bits, capabilities),
        }
    }

    fn workgroups(&self, variant: &Variant) -> u64 {
        let SparseMatmul { m, n, .. } = self.shape;
        let number = |name| variant.get(name);
        let size = if variant.has("SUBGROUP") {
            number("SUBGROUP")
        } else {
            1
        };
        let (columns, rows) = match self.shape.format.layout {
            // Two rows of the weight, for a lane or a subgroup.
            SparseLayout::Delta(_) => (number("COLUMNS"), 2),
            SparseLayout::Nm(_) | SparseLayout::Block(_) if variant.has("TILE_M") => {
                (number("TILE_M") * size, number("TILE_N") * size)
            }
            SparseLayout::Nm(_) | SparseLayout::Block(_) => {
                (number("COLUMNS"), number("ROWS") * size)
            }
        };
        let tiles = u64::from(m.div_ceil(columns)) * u64::from(n.div_ceil(rows));
        if variant.has("SUBGROUP") {
            tiles
        } else {
            tiles.div_ceil(number("WORKGROUP_SIZE").into())
        }
    }

    fn iterations(&self, variant: &Variant) -> Iterations {
        match self.shape.format.layout {
            SparseLayout::Nm(_) => sparse_nm::iterations(self, variant),
            SparseLayout::Block(_) => sparse_block::iterations(self, variant),
            SparseLayout::Delta(_) => sparse_delta::iterations(self, variant),
        }
    }

    fn reference(&self, operands: &HostOperands<'_>) -> Vec<Output> {
        let SparseMatmul {
            m,
            n,
            epilogue,
            out,
            ..
        } = self.shape;
        let mut values = vec![0.0; m as usize * n as usize];
        self.for_each_sum(operands, |index, sum, _| {
            values[index] = epilogue.apply(operands, index, n as usize, sum);
        });
        vec![Output::new(OUT, stored(out, values))]
    }

    fn bound(&self, operands: &HostOperands<'_>) -> Vec<Bound> {
        let SparseMatmul {
            m,
            n,
            epilogue,
            out,
            ..
        } = self.shape;
        let mut allowed = vec![0.0; m as usize * n as usize];
        self.for_each_sum(operands, |index, sum, error| {
            allowed[index] = epilogue.error(operands, (index, n as usize), (sum, error), out);
        });
        vec![Bound::Absolute(allowed)]
    }

    /// Operations are those on stored values, padding included.
    fn cost(&self) -> Cost {
        let SparseMatmul {
            m, n, x, k, out, ..
        } = self.shape;
        let (m, n, k) = (f64::from(m), f64::from(n), f64::from(k));
        let values = self.shape.values();
        let stored = f64::from(values.rows) * f64::from(values.columns);
        let weight = values.slots().into_iter().chain(self.shape.place_slots());
        let weight: f64 = weight.map(|slot| slot.bytes as f64).sum();
        Cost {
            operations: 2.0 * m * stored,
            bytes: m * k * x.bytes() as f64 + weight + m * n * out.bytes() as f64,
        }
    }

    /// By rows of x only: a weight past the binding limit is refused by the engine.
    fn split(&self, limit: u64, alignment: u64) -> Option<Vec<Part>> {
        let SparseMatmul {
            m,
            n,
            k,
            x,
            out,
            epilogue,
            ..
        } = self.shape;
        let columns = u64::from(n);
        let mut streams = Streams {
            by_row: vec![(X, u64::from(k) * x.bytes()), (OUT, columns * out.bytes())],
            ..Streams::default()
        };
        let weight = self
            .shape
            .values()
            .slots()
            .into_iter()
            .chain(self.shape.place_slots());
        streams
            .whole
            .extend(weight.map(|slot| (slot.binding, slot.bytes)));
        if epilogue.bias {
            streams.whole.push((BIAS, 4 * columns));
        }
        if epilogue.residual {
            streams.by_row.push((RESIDUAL, 4 * columns));
        }
        let tiles = cut(m, n, &streams, limit, alignment)?;
        let part = |tile: Tile| Part {
            launch: Arc::new(Self {
                shape: SparseMatmul {
                    m: tile.rows.end - tile.rows.start,
                    ..self.shape
                },
            }) as Arc<dyn Launch>,
            ranges: tile.ranges,
        };
        Some(tiles.into_iter().map(part).collect())
    }
}
