//! What the two kernels of attention's gradient share: types, operands, and the share of a key in a row made
//! again from the logarithm of the row's sum.
//!
//! With `p_ij = e^(s_ij - log_sum_i)`, `s_ij = scale q_i k_j` and `delta_i = dout_i out_i`, the gradient of a
//! score is `g_ij = p_ij (dout_i v_j - delta_i)`; then `dq_i = scale sum_j g_ij k_j`,
//! `dk_j = scale sum_i g_ij q_i` and `dv_j = sum_i p_ij dout_i`, the sums over i also over the heads that
//! share keys.

use crate::kernels::running::Running;
use crate::kernels::shape::ShapeError;
use crate::kernels::{Case, DataKind, FloatType};
use crate::record::{HostOperands, Launch, Slot, Values};
use crate::shader::{Capabilities, Variant};

use super::{
    Attention, AttentionShape, K, KeyCounts, KeyStorage, LENGTHS, Mask, Operands, Q, V, lanes,
    loaded, quads, read,
};

pub(in crate::kernels) const UPSTREAM: u32 = 4;
pub(in crate::kernels) const STATISTICS: u32 = 5;

/// Shape and types of a gradient of attention.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionGradient {
    /// Extents and places; gradients lie as what they belong to.
    pub shape: AttentionShape,
    /// Storage of q.
    pub q: FloatType,
    /// Storage of k and v.
    pub kv: FloatType,
    /// Storage of the gradient of the result.
    pub upstream: FloatType,
    /// Storage of the gradients made.
    pub out: FloatType,
}

impl AttentionGradient {
    /// Refuses what attention refuses, and operands whose rows do not cover their buffer: every element of a
    /// gradient is written.
    pub(in crate::kernels) fn check(&self, kernel: &'static str) -> Result<(), ShapeError> {
        let shape = &self.shape;
        shape.check(kernel)?;
        let places = [
            ("q", shape.q, shape.heads, shape.queries),
            ("k", shape.k, shape.kv_heads, shape.keys),
            ("v", shape.v, shape.kv_heads, shape.keys),
        ];
        for (name, place, heads, tokens) in places {
            if !place.is_dense(heads, tokens, shape.dim) {
                return Err(ShapeError::Unsupported {
                    kernel,
                    name,
                    value: format!("{place:?}"),
                    allowed: "[batch, heads, tokens, dim] and [batch, tokens, heads, dim]",
                });
            }
        }
        Ok(())
    }

    pub(in crate::kernels) fn describe(&self) -> String {
        let Self {
            shape,
            q,
            kv,
            upstream,
            out,
        } = self;
        format!("{} q-{q} kv-{kv} dy-{upstream} out-{out}", shape.describe())
    }

    /// Slots of the operands.
    pub(in crate::kernels) fn slots(&self) -> Vec<Slot> {
        let shape = &self.shape;
        let mut slots = vec![
            read(Q, "matrix_a", self.bytes(shape.q.batch, self.q)),
            read(K, "key_rows", self.bytes(shape.k.batch, self.kv)),
            read(V, "value_rows", self.bytes(shape.v.batch, self.kv)),
            read(
                UPSTREAM,
                "upstream",
                self.bytes(shape.out.batch, self.upstream),
            ),
            read(STATISTICS, "statistics", 8 * shape.rows()),
        ];
        if shape.lengths == KeyCounts::PerSequence {
            slots.push(read(LENGTHS, "lengths", 4 * u64::from(shape.batch)));
        }
        slots
    }

    /// Bytes of rows of all sequences.
    pub(in crate::kernels) fn bytes(&self, stride: u32, storage: FloatType) -> u64 {
        u64::from(self.shape.batch) * u64::from(stride) * storage.bytes()
    }

    /// Variants of an entry with tiles of up to 4 of `rows`, the likely best first: a lane holds `held` rows
    /// for each of its tile.
    pub(in crate::kernels) fn variants(
        &self,
        (entry, rows, held): (&Variant, u64, u64),
        capabilities: &Capabilities,
    ) -> Vec<Variant> {
        let variant = entry
            .clone()
            .slot("a", quads(self.q))
            .slot("kv", self.kv.name())
            .slot("lengths", self.shape.lengths.module())
            .slot("upstream", self.upstream.name())
            .slot("store", self.out.name())
            .number("QUADS", self.shape.dim / 4)
            .number("WORKGROUP_SIZE", lanes(capabilities));
        let mut tiles = vec![4, 2, 1];
        tiles.retain(|&tile| {
            let words = u64::from(tile) * held * u64::from(self.shape.dim);
            tile == 1 || (u64::from(tile) <= rows && words <= 1024)
        });
        if !capabilities.software {
            tiles.reverse();
        }
        let number = |tile| variant.clone().number("TILE", tile);
        tiles.into_iter().map(number).collect()
    }

    /// Operands as numbers with what loading loses.
    pub(in crate::kernels) fn unpack<'a>(&'a self, operands: &'a HostOperands<'a>) -> Unpacked<'a> {
        let shape = &self.shape;
        let of = |binding, storage, stride: u32| {
            let len = shape.batch as usize * stride as usize;
            loaded(storage, operands.words(binding), len)
        };
        Unpacked {
            shape,
            operands,
            q: of(Q, self.q, shape.q.batch),
            k: of(K, self.kv, shape.k.batch),
            v: of(V, self.kv, shape.v.batch),
            upstream: of(UPSTREAM, self.upstream, shape.out.batch),
        }
    }

    /// The cases of shapes, data and types: operands with the statistics of their forward pass.
    pub(in crate::kernels) fn case(
        self,
        make: impl Fn(Self) -> Option<std::sync::Arc<dyn Launch>>,
        data: DataKind,
    ) -> Option<Case> {
        self.case_of(make, data, None)
    }

    /// A case with a row whose logarithm of its sum is NaN, as a NaN among its scores makes it.
    pub(in crate::kernels) fn not_finite(
        make: impl Fn(Self) -> Option<std::sync::Arc<dyn Launch>>,
    ) -> Option<Case> {
        let mut shape = AttentionShape::tokens_first([2, 2, 1, 3, 9, 8]);
        shape.mask = Mask::Causal;
        let one = Self {
            shape,
            q: FloatType::F32,
            kv: FloatType::F32,
            upstream: FloatType::F32,
            out: FloatType::F32,
        };
        let mut case = one.case_of(make, DataKind::Normal, Some(1))?;
        case.name.push_str(" not-finite");
        Some(case)
    }

    fn case_of(
        self,
        make: impl Fn(Self) -> Option<std::sync::Arc<dyn Launch>>,
        data: DataKind,
        nan_row: Option<usize>,
    ) -> Option<Case> {
        let shape = &self.shape;
        let launch = make(self)?;
        let made = Operands::new(shape, data);
        let len = shape.rows() as usize * shape.dim as usize;
        let upstream = data.values(99 + len as u64, len);
        let mut operands = vec![
            (Q, self.q.pack(&made.q)),
            (K, self.kv.pack(&made.k)),
            (V, self.kv.pack(&made.v)),
            (UPSTREAM, self.upstream.pack(&upstream)),
        ];
        if shape.lengths == KeyCounts::PerSequence {
            operands.push((LENGTHS, made.lengths));
        }
        let mut statistics = self.statistics(&operands)?;
        if let Some(row) = nan_row {
            statistics[2 * row] = f32::NAN;
        }
        operands.push((STATISTICS, FloatType::F32.pack(&statistics)));
        Some(Case::new(launch, operands, data).bounded())
    }

    /// Logarithms of sums, and products of results with their gradients, as the other kernels make them.
    fn statistics(&self, operands: &[(u32, Vec<u32>)]) -> Option<Vec<f32>> {
        let shape = self.shape;
        let forward = Attention {
            shape,
            splits: 1,
            q: self.q,
            kv: KeyStorage::Float(self.kv),
            out: FloatType::F32,
        };
        let mut host = HostOperands::default();
        for (binding, words) in operands {
            host.insert(*binding, words);
        }
        let outputs = forward.launch().ok()?.reference(&host);
        let [Values::F32(logs), Values::F32(results)] = [&outputs[0].values, &outputs[1].values]
        else {
            return None;
        };
        let (heads, queries, dim) = (
            shape.heads as usize,
            shape.queries as usize,
            shape.dim as usize,
        );
        let len = shape.rows() as usize * dim;
        let upstream = self.upstream.unpack(host.words(UPSTREAM), len);
        let statistics = logs.iter().enumerate().flat_map(|(row, &log)| {
            let start =
                shape
                    .out
                    .start(row / queries / heads, row / queries % heads, row % queries);
            let terms = results[start..start + dim].iter().zip(&upstream[start..]);
            let delta: f64 = terms.map(|(&a, &b)| a * f64::from(b)).sum();
            [log as f32, delta as f32]
        });
        Some(statistics.collect())
    }

    /// Shapes, data and types that both kernels are tried with.
    pub(in crate::kernels) fn samples() -> Vec<(Self, DataKind)> {
        const EXTENTS: [[u32; 6]; 5] = [
            [1, 1, 1, 1, 1, 4],
            [2, 3, 3, 5, 11, 8],
            [1, 4, 2, 7, 7, 8],
            [3, 4, 1, 3, 18, 20],
            [1, 1, 1, 13, 33, 8],
        ];
        let plain = |shape| Self {
            shape,
            q: FloatType::F32,
            kv: FloatType::F32,
            upstream: FloatType::F32,
            out: FloatType::F32,
        };
        let mut samples = Vec::new();
        for (index, extents) in EXTENTS.into_iter().enumerate() {
            let mut shape = AttentionShape::heads_first(extents);
            if index % 2 == 1 {
                shape = AttentionShape::tokens_first(extents);
            }
            shape.mask = Mask::ALL[index % 3];
            samples.push((plain(shape), DataKind::Normal));
            shape.mask = Mask::ALL[(index + 1) % 3];
            shape.lengths = KeyCounts::PerSequence;
            samples.push((plain(shape), DataKind::Normal));
        }
        let kinds = [
            DataKind::Integers,
            DataKind::Denormals,
            DataKind::Zeros,
            DataKind::OneNonzero,
        ];
        let mut shape = AttentionShape::tokens_first([2, 4, 2, 6, 19, 8]);
        shape.mask = Mask::Causal;
        samples.extend(kinds.map(|data| (plain(shape), data)));
        for storage in [FloatType::F16, FloatType::Bf16] {
            let mixed = Self {
                q: storage,
                kv: storage,
                upstream: storage,
                out: storage,
                ..plain(shape)
            };
            samples.push((mixed, DataKind::Normal));
        }
        // Large enough to be cut by sequences.
        let many = AttentionShape::heads_first([6, 2, 1, 32, 32, 8]);
        samples.push((plain(many), DataKind::Normal));
        samples
    }

    /// Longer ones.
    pub(in crate::kernels) fn long_samples() -> Vec<(Self, DataKind)> {
        let mut samples = Vec::new();
        for dim in [64, 128] {
            let mut shape = AttentionShape::tokens_first([1, 6, 2, 70, 70, dim]);
            shape.mask = Mask::Causal;
            let one = Self {
                shape,
                q: FloatType::F32,
                kv: FloatType::F32,
                upstream: FloatType::F32,
                out: FloatType::F32,
            };
            samples.push((one, DataKind::Normal));
        }
        samples
    }
}

/// Operands as numbers.
pub(in crate::kernels) struct Unpacked<'a> {
    shape: &'a AttentionShape,
    operands: &'a HostOperands<'a>,
    pub q: Vec<Running>,
    pub k: Vec<Running>,
    v: Vec<Running>,
    pub upstream: Vec<Running>,
}

/// A key's share in a row, and the gradient of its score.
#[derive(Clone, Copy)]
pub(in crate::kernels) struct Pair {
    pub share: Running,
    pub slope: Running,
}

impl Unpacked<'_> {
    /// Keys that a query of a sequence sees.
    pub fn visible(&self, sequence: usize, query: usize) -> usize {
        let length = self.shape.length(sequence, self.operands);
        self.shape.visible(query, length)
    }

    /// The row of a head that starts at an element.
    pub fn row<'b>(&self, values: &'b [Running], start: usize) -> &'b [Running] {
        &values[start..start + self.shape.dim as usize]
    }

    pub fn pair(&self, [sequence, head, query]: [usize; 3], key: usize) -> Pair {
        let shape = self.shape;
        let kv_head = shape.kv_head(head);
        let q = self.row(&self.q, shape.q.start(sequence, head, query));
        let k = self.row(&self.k, shape.k.start(sequence, kv_head, key));
        let v = self.row(&self.v, shape.v.start(sequence, kv_head, key));
        let upstream = self.row(&self.upstream, shape.out.start(sequence, head, query));
        let row = (sequence * shape.heads as usize + head) * shape.queries as usize + query;
        let known = &self.operands.f32(STATISTICS)[2 * row..2 * row + 2];
        let [log_sum, delta] = [known[0], known[1]].map(Running::loaded);
        let share = (shape.score(q, k) - log_sum).exp();
        let products = upstream.iter().zip(v).map(|(&dy, &v)| dy * v);
        Pair {
            share,
            slope: share * (Running::sum(products) - delta),
        }
    }
}
