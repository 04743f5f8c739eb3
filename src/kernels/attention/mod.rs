//! Scaled dot-product attention: `out_i = sum_j p_ij v_j` with `p_i` the softmax over the keys that query i
//! sees of `scale q_i k_j` (Vaswani et al., "Attention Is All You Need", 2017).
//!
//! Keys are passed once with a running maximum and sum, so no matrix of scores is stored (Milakov and
//! Gimelshein 2018; Dao et al., "FlashAttention", 2022). The logarithm of each row's sum of exponentials is
//! kept: the gradient makes the shares again from it.
//!
//! With `splits` above 1 the keys of a sequence are cut into as many parts, each with a result and a
//! logarithm of its own, which `attention_combine` puts together: one query over a long cache would leave
//! most of an adapter idle. How many keys there are may come from a tensor, so that one plan serves every
//! length. A row that sees no key has a result of zeros and -1e30 for the logarithm.

mod cases;
mod fast;
pub mod gradient;
pub(super) mod shape;

use std::sync::Arc;

use crate::record::{
    Bound, Cost, HostOperands, HostResults, Iterations, Launch, Output, Part, Slot,
};
use crate::shader::{Capabilities, Variant};

use super::bounds::{TINY, U};
use super::iterations::looped;
use super::rows::{parts, read, slot_bytes, write};
use super::running::{Computed, Running, bounds, outputs};
use super::shape::{ShapeError, check_extents, check_index, extent_class};
use super::{FloatType, Kernel, Workload, WorkloadError};

pub(super) use cases::{NAN_AS_ONE, Operands};
pub(super) use shape::loaded;
pub use shape::{AttentionShape, KeyCounts, Mask, Place};

const NAME: &str = "attention";
pub(super) const Q: u32 = 1;
pub(super) const K: u32 = 2;
pub(super) const V: u32 = 3;
const KEY_SCALES: u32 = 4;
const LOG_SUMS: u32 = 5;
const VALUE_SCALES: u32 = 6;
pub(super) const LENGTHS: u32 = 7;
const OUT: u32 = 8;

/// The logarithm of a sum over no keys.
pub(super) const LOWEST: f64 = -1e30_f32 as f64;

/// Keys taken together.
const KEYS: u32 = 4;

/// How keys and values are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyStorage {
    /// As they are.
    Float(FloatType),
    /// int8 codes with an f32 scale for each row, as `cache_quantize` makes them.
    Int8,
}

impl KeyStorage {
    /// Name in slots and printed shapes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Float(storage) => storage.name(),
            Self::Int8 => "int8",
        }
    }

    const fn bytes(self) -> u64 {
        match self {
            Self::Float(storage) => storage.bytes(),
            Self::Int8 => 1,
        }
    }
}

/// Attention. Operands by binding: q 1, k 2, v 3, with [`KeyStorage::Int8`] scales of keys 4 and of values 6,
/// f32, one for each row in the order of the rows, logarithms f32 `[batch, splits, heads, queries]` 5, with
/// [`KeyCounts::PerSequence`] numbers of keys u32 `[batch]` 7, result 8.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Attention {
    /// Extents and places.
    pub shape: AttentionShape,
    /// Parts the keys are cut into; above 1 the result is f32 `[batch, splits, heads, queries, dim]`.
    pub splits: u32,
    /// Storage of q.
    pub q: FloatType,
    /// Storage of k and v.
    pub kv: KeyStorage,
    /// Storage of the result.
    pub out: FloatType,
}

impl Attention {
    /// Checks the shape and makes a launch of it.
    ///
    /// # Errors
    /// [`ShapeError`] for empty extents, heads that are no multiple of `kv_heads`, a `dim` that is no multiple
    /// of 4 or above 256, places that are not multiples of 4 or pass the end of a sequence, more elements
    /// than 32 bits index, a scale that is not finite, int8 keys that are not dense, and results of parts
    /// that are not f32.
    pub fn launch(self) -> Result<Arc<dyn Launch>, ShapeError> {
        self.shape.check(NAME)?;
        check_extents(NAME, &[("splits", self.splits.into())])?;
        let (heads, keys, dim) = (self.shape.kv_heads, self.shape.keys, self.shape.dim);
        for (name, place) in [("k", self.shape.k), ("v", self.shape.v)] {
            if self.kv == KeyStorage::Int8 && !place.is_dense(heads, keys, dim) {
                return Err(ShapeError::Unsupported {
                    kernel: NAME,
                    name,
                    value: format!("{place:?}"),
                    allowed: "[batch, heads, tokens, dim] and [batch, tokens, heads, dim] in int8",
                });
            }
        }
        if self.splits > 1 && self.out != FloatType::F32 {
            return Err(ShapeError::Unsupported {
                kernel: NAME,
                name: "storage of the results of parts",
                value: self.out.to_string(),
                allowed: "f32",
            });
        }
        let elements = self.shape.rows() * u64::from(self.splits) * u64::from(self.shape.dim);
        check_index(NAME, "splits * result", elements)?;
        check_index(
            NAME,
            "keys + splits",
            u64::from(self.shape.keys) + u64::from(self.splits),
        )?;
        Ok(Arc::new(self))
    }

    fn computed(&self, operands: &HostOperands<'_>) -> Vec<Computed> {
        let shape = &self.shape;
        let (splits, dim) = (self.splits as usize, shape.dim as usize);
        let [q, k, v] = self.operands(operands);
        let rows = shape.rows() as usize * splits;
        let mut results = vec![Running::exact(0.0); rows * dim];
        let mut logs = Vec::with_capacity(rows);
        let place = shape.split_out(self.splits);
        for sequence in 0..shape.batch as usize {
            let length = shape.length(sequence, operands);
            let part = length.div_ceil(splits);
            for split in 0..splits {
                for head in 0..shape.heads as usize {
                    let kv_head = shape.kv_head(head);
                    for query in 0..shape.queries as usize {
                        let end = shape.visible(query, length).min((split + 1) * part);
                        let keys = split * part..end.max(split * part);
                        let row = &q[shape.q.start(sequence, head, query)..][..dim];
                        let scores: Vec<Running> = keys
                            .clone()
                            .map(|key| {
                                shape.score(row, &k[shape.k.start(sequence, kv_head, key)..][..dim])
                            })
                            .collect();
                        let values =
                            keys.map(|key| &v[shape.v.start(sequence, kv_head, key)..][..dim]);
                        let attended = Attended::new(&scores);
                        logs.push(attended.log_sum());
                        let start = place.start(sequence, head, query)
                            + split * (place.batch as usize / splits) * usize::from(splits > 1);
                        let out = attended.mean(&values.collect::<Vec<_>>(), dim);
                        results[start..start + dim].copy_from_slice(&out);
                    }
                }
            }
        }
        vec![(LOG_SUMS, FloatType::F32, logs), (OUT, self.out, results)]
    }

    fn operands(&self, operands: &HostOperands<'_>) -> [Vec<Running>; 3] {
        let shape = &self.shape;
        let len = |stride: u32| shape.batch as usize * stride as usize;
        let dim = shape.dim as usize;
        let rows = |binding, scales, stride: u32| match self.kv {
            KeyStorage::Float(storage) => loaded(storage, operands.words(binding), len(stride)),
            KeyStorage::Int8 => {
                let codes = bytemuck::cast_slice::<u32, i8>(operands.words(binding));
                let scales = operands.f32(scales);
                let codes = codes[..len(stride)].iter().enumerate();
                codes
                    .map(|(at, &code)| {
                        Running::loaded(scales[at / dim]) * Running::exact(code.into())
                    })
                    .collect()
            }
        };
        [
            loaded(self.q, operands.words(Q), len(shape.q.batch)),
            rows(K, KEY_SCALES, shape.k.batch),
            rows(V, VALUE_SCALES, shape.v.batch),
        ]
    }

    /// Rows of a lane that are worth a variant, the likely best first: more of them read fewer words, as
    /// long as they fit registers and leave work for every core.
    fn tiles(&self, capabilities: &Capabilities) -> Vec<u32> {
        let rows = self.shape.shared_rows();
        // Values of q, and as many of the result, that a lane holds. A CPU gains nothing by more, and to
        // compile what is written out for them took most of a first use.
        let most = if capabilities.software { 256 } else { 512 };
        let mut tiles: Vec<u32> = [8, 4, 3, 2, 1].into_iter().collect();
        tiles.retain(|&tile| {
            let held = u64::from(tile) * u64::from(self.shape.dim);
            let whole = tile != 3 || rows == 3;
            tile == 1 || (held <= most && u64::from(tile) <= rows && whole)
        });
        let groups = |tile: u32| {
            u64::from(self.shape.batch)
                * u64::from(self.shape.kv_heads)
                * u64::from(self.splits)
                * rows.div_ceil(tile.into())
        };
        // Two cores of eight lanes, or a hardware adapter of thousands.
        let wanted = if capabilities.software { 16 } else { 4096 };
        let at = tiles.iter().position(|&tile| groups(tile) >= wanted);
        let best = at.unwrap_or(tiles.len() - 1);
        tiles[..=best].rotate_right(1);
        tiles
    }
}

/// Shares of a row of scores.
pub(super) struct Attended {
    /// `e^(score - largest)`, relative to any common factor.
    weights: Vec<Running>,
    sum: Running,
    log_sum: Running,
}

impl Attended {
    pub fn new(scores: &[Running]) -> Self {
        let largest = scores.iter().copied().reduce(Running::max);
        let largest = largest.unwrap_or(Running::exact(LOWEST));
        // How often the running maximum may have grown: at each score that errors may have put on top.
        let (mut grown, mut least) = (0.0, f64::NEG_INFINITY);
        for score in scores {
            if score.value + score.error >= least {
                grown += 1.0;
            }
            least = least.max(score.value - score.error);
        }
        let weights = scores.iter().map(|score| {
            // The differences that a weight is taken through sum up to this one. Each costs a subtraction,
            // an exponential of 3 + 2|x| units, and a product.
            let below = largest.value - score.value;
            let size = (below + score.error + largest.error).min(200.0 + 100.0 * grown);
            let value = (-below).exp();
            let units = 1.01 * (3.0 * size + 4.0 * (grown + 1.0)) * U;
            // What is flushed, or clamped at e^-100, is below the smallest normal number.
            let made = Running::within(value, value * units + 4.0 * TINY);
            let relative = score.error.exp_m1();
            // No weight is above 1, so none is off by more, whatever became of its score.
            let error = value * (relative + (1.0 + relative) * units) + 4.0 * TINY;
            (made, Running::within(value, error.min(1.01)))
        });
        let (made, weights): (Vec<Running>, Vec<Running>) = weights.unzip();
        // Scores that are all off by e at most move the logarithm of the sum by e at most.
        let logarithm = Running::sum(made).ln();
        Self {
            sum: Running::sum(weights.iter().copied()),
            weights,
            log_sum: largest + logarithm,
        }
    }

    /// Logarithm of the sum of exponentials.
    pub fn log_sum(&self) -> Running {
        if self.weights.is_empty() {
            return Running::exact(LOWEST);
        }
        self.log_sum
    }

    /// The mean of rows of `dim` values, weighted by the shares.
    pub fn mean(&self, values: &[&[Running]], dim: usize) -> Vec<Running> {
        if self.weights.is_empty() {
            return vec![Running::exact(0.0); dim];
        }
        let inverse = Running::exact(1.0) / self.sum;
        let column = |at: usize| {
            let terms = self.weights.iter().zip(values);
            let mean = Running::sum(terms.map(|(&weight, row)| weight * row[at])) * inverse;
            // A weighted mean is never outside its values, whatever became of the weights.
            let most = values.iter().map(|row| row[at].value.abs() + row[at].error);
            let most = most.fold(0.0, f64::max);
            Running::within(mean.value, mean.error.min(2.01 * most + TINY))
        };
        (0..dim).map(column).collect()
    }
}

impl Launch for Attention {
    fn kernel(&self) -> &'static str {
        NAME
    }

    fn describe(&self) -> String {
        let Self {
            shape,
            splits,
            q,
            kv,
            out,
        } = self;
        format!(
            "{} splits={splits} q-{q} kv-{} out-{out}",
            shape.describe(),
            kv.name()
        )
    }

    fn slots(&self) -> Vec<Slot> {
        let shape = &self.shape;
        let batch = u64::from(shape.batch);
        let rows = |stride: u32, bytes: u64| batch * u64::from(stride) * bytes;
        let mut slots = vec![
            read(Q, "matrix_a", rows(shape.q.batch, self.q.bytes())),
            read(K, "key_rows", rows(shape.k.batch, self.kv.bytes())),
            read(V, "value_rows", rows(shape.v.batch, self.kv.bytes())),
        ];
        let scales = 4 * batch * u64::from(shape.kv_heads) * u64::from(shape.keys);
        if self.kv == KeyStorage::Int8 {
            slots.push(read(KEY_SCALES, "key_scales", scales));
        }
        slots.push(write(
            LOG_SUMS,
            "log_sums",
            4 * shape.rows() * u64::from(self.splits),
        ));
        if self.kv == KeyStorage::Int8 {
            slots.push(read(VALUE_SCALES, "value_scales", scales));
        }
        if shape.lengths == KeyCounts::PerSequence {
            slots.push(read(LENGTHS, "lengths", 4 * u64::from(shape.batch)));
        }
        let out = rows(shape.split_out(self.splits).batch, self.out.bytes());
        slots.push(write(OUT, "out", out));
        slots
    }

    fn params(&self) -> Vec<u8> {
        self.shape.params(self.splits)
    }

    fn param_fields(&self) -> &'static [(&'static str, usize)] {
        AttentionShape::param_fields()
    }

    fn variants(&self, capabilities: &Capabilities) -> Vec<Variant> {
        let variant = Variant::new(NAME)
            .slot("a", quads(self.q))
            .slot("kv", self.kv.name())
            .slot("lengths", self.shape.lengths.module())
            .slot("store", self.out.name())
            .number("QUADS", self.shape.dim / 4)
            .number("KEYS", KEYS)
            .number("WORKGROUP_SIZE", lanes(capabilities));
        let tiles = self.tiles(capabilities).into_iter();
        tiles
            .map(|tile| variant.clone().number("TILE", tile))
            .collect()
    }

    fn workgroups(&self, variant: &Variant) -> u64 {
        let number = |name| u64::from(variant.get(name));
        let tiles = self.shape.shared_rows().div_ceil(number("TILE"));
        let sequences = u64::from(self.shape.batch) * u64::from(self.shape.kv_heads);
        (sequences * u64::from(self.splits) * tiles).div_ceil(number("WORKGROUP_SIZE"))
    }

    fn iterations(&self, variant: &Variant) -> Iterations {
        let number = |name| u64::from(variant.get(name));
        let (tile, quads, keys) = (number("TILE"), number("QUADS"), number("KEYS"));
        let steps = u64::from(self.shape.keys.div_ceil(self.splits)).div_ceil(keys);
        let scores = looped(quads, looped(keys, looped(tile, 0)));
        let shares = looped(tile, 2 * looped(keys, 0));
        let sums = looped(quads, looped(keys, 0) + looped(tile, looped(keys, 0)));
        let around = 2 * looped(tile, looped(quads, 0));
        Iterations {
            unrolled: looped(steps, 0),
            rolled: looped(steps, 2 * looped(keys, 0) + scores + shares + sums) + around,
        }
    }

    fn reference(&self, operands: &HostOperands<'_>) -> Vec<Output> {
        outputs(self.computed(operands))
    }

    fn fast(&self, operands: &HostOperands<'_>, results: &mut HostResults<'_>) -> bool {
        self.compute(operands, results);
        true
    }

    fn bound(&self, operands: &HostOperands<'_>) -> Vec<Bound> {
        bounds(self.computed(operands))
    }

    fn cost(&self) -> Cost {
        Cost {
            operations: 2.0 * self.shape.product_operations(),
            bytes: slot_bytes(&self.slots()),
        }
    }

    fn shape_class(&self) -> String {
        let AttentionShape {
            batch,
            heads,
            kv_heads,
            queries,
            keys,
            dim,
            mask,
            ..
        } = self.shape;
        let Self {
            splits, q, kv, out, ..
        } = self;
        let class = extent_class;
        format!(
            "batch={} heads={heads} kv_heads={kv_heads} queries={} keys={} dim={dim} {} splits={splits} \
             q-{q} kv-{} out-{out}",
            class(batch),
            class(queries),
            class(keys),
            mask.name(),
            kv.name(),
        )
    }

    fn example(&self, seed: u64) -> Vec<(u32, Vec<u32>)> {
        lengths_within(&self.slots(), self.shape.keys, seed)
    }

    fn split(&self, max_bytes: u64, alignment: u64) -> Option<Vec<Part>> {
        let limits = (max_bytes, alignment);
        parts(self.shape.batch, &self.slots(), &[], limits, |run| {
            let shape = AttentionShape {
                batch: run.end - run.start,
                ..self.shape
            };
            Arc::new(Self { shape, ..*self })
        })
    }
}

/// The default example with numbers of keys that are nearly all of them.
pub(super) fn lengths_within(slots: &[Slot], keys: u32, seed: u64) -> Vec<(u32, Vec<u32>)> {
    let mut operands = crate::record::example_operands(slots, seed);
    let lengths = operands
        .iter_mut()
        .filter(|(binding, _)| *binding == LENGTHS);
    for word in lengths.flat_map(|(_, words)| words) {
        *word = keys - *word % keys.div_ceil(8);
    }
    operands
}

/// Module that reads four neighbours of a storage type.
pub(super) const fn quads(storage: FloatType) -> &'static str {
    match storage {
        FloatType::F32 => "f32_vec4",
        FloatType::F16 => "f16_vec4",
        FloatType::Bf16 => "bf16_vec4",
    }
}

/// Invocations of a workgroup: no lane talks to another, so a CPU takes one vector of them.
pub(super) const fn lanes(capabilities: &Capabilities) -> u32 {
    if capabilities.software { 8 } else { 64 }
}

/// A shape asked for in words.
pub(super) fn asked_shape(asked: &mut Workload<'_>) -> Result<AttentionShape, WorkloadError> {
    let extents = asked.extents("BATCHxHEADSxKV_HEADSxQUERIESxKEYSxDIM")?;
    // What a launch refuses is refused there; strides must not overflow before.
    let mut shape = AttentionShape::heads_first(extents);
    let mask = asked.choose(&Mask::ALL.map(|mask| (mask.name(), mask)));
    shape.mask = mask.unwrap_or(Mask::Full);
    Ok(shape)
}

fn workload(asked: &mut Workload<'_>) -> Result<Arc<dyn Launch>, WorkloadError> {
    let shape = asked_shape(asked)?;
    let splits = asked.take("split-N", |word| word.strip_prefix("split-")?.parse().ok());
    let splits = splits.unwrap_or(1);
    let storage = asked.float().unwrap_or(FloatType::F32);
    let int8 = asked.choose(&[("kv-int8", KeyStorage::Int8)]);
    let attention = Attention {
        shape,
        splits,
        q: storage,
        kv: int8.unwrap_or(KeyStorage::Float(storage)),
        out: if splits == 1 { storage } else { FloatType::F32 },
    };
    Ok(attention.launch()?)
}

/// Registry entry.
pub static KERNEL: Kernel = Kernel {
    name: NAME,
    summary: "scaled dot-product attention with a running maximum, over all keys or parts of them",
    workload,
    cases: cases::cases,
    broken: cases::BROKEN,
    expected_failures: &[],
};

#[cfg(test)]
mod tests {
    use super::*;

    fn attention(extents: [u32; 6]) -> Attention {
        Attention {
            shape: AttentionShape::heads_first(extents),
            splits: 1,
            q: FloatType::F32,
            kv: KeyStorage::Float(FloatType::F32),
            out: FloatType::F32,
        }
    }

    #[test]
    fn rejects_heads_that_do_not_share_evenly_and_rows_that_are_not_quads() {
        let uneven = attention([1, 4, 3, 2, 2, 8]).launch();
        assert!(matches!(
            uneven,
            Err(ShapeError::NotMultiple { name: "heads", .. })
        ));
        let odd = attention([1, 1, 1, 2, 2, 6]).launch();
        assert!(matches!(
            odd,
            Err(ShapeError::NotMultiple { name: "dim", .. })
        ));
        let empty = attention([1, 1, 0, 2, 2, 8]).launch();
        assert!(matches!(
            empty,
            Err(ShapeError::Zero {
                name: "kv_heads",
                ..
            })
        ));
        let long = attention([1, 1, 1, 2, 2, 260]).launch();
        assert!(matches!(
            long,
            Err(ShapeError::TooLarge { name: "dim", .. })
        ));
    }

    #[test]
    fn rejects_rows_past_the_end_of_a_sequence_and_parts_in_half_precision() {
        let mut past = attention([2, 1, 1, 2, 2, 8]);
        past.shape.k.offset = 4;
        assert!(matches!(
            past.launch(),
            Err(ShapeError::TooLarge { name: "k", .. })
        ));
        let parts = Attention {
            splits: 2,
            out: FloatType::F16,
            ..attention([1, 1, 1, 1, 9, 8])
        };
        assert!(matches!(
            parts.launch(),
            Err(ShapeError::Unsupported { .. })
        ));
        let mut sparse = attention([1, 2, 2, 2, 2, 8]);
        sparse.shape.out.batch = 64;
        assert!(matches!(
            sparse.launch(),
            Err(ShapeError::Unsupported { .. })
        ));
    }

    #[test]
    fn the_last_query_sees_every_key_and_none_sees_what_a_sequence_has_not() {
        let mut shape = attention([1, 1, 1, 3, 5, 4]).shape;
        assert_eq!([0, 1, 2].map(|query| shape.visible(query, 4)), [4, 4, 4]);
        shape.mask = Mask::Causal;
        assert_eq!([0, 1, 2].map(|query| shape.visible(query, 4)), [3, 4, 4]);
        shape.mask = Mask::CausalInCache;
        assert_eq!([0, 1, 2].map(|query| shape.visible(query, 4)), [2, 3, 4]);
        assert_eq!([0, 1, 2].map(|query| shape.visible(query, 1)), [0, 0, 1]);
    }
}
