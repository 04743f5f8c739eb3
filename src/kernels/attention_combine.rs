//! Attention over parts of the keys put together: with `w_s = e^(log_sum_s - largest)`, the result of a row
//! is `sum_s w_s out_s / sum_s w_s`. Parts that saw no key have a logarithm of -1e30 and so no weight.

use std::sync::Arc;

use crate::record::{
    Bound, Cost, HostOperands, HostResults, Iterations, Launch, Output, Part, Slot, params,
};
use crate::shader::{Capabilities, Edit, Variant};

use super::attention::{LOWEST, Place};
use super::fast::{add_scaled, fill_stored};
use super::iterations::looped;
use super::rows::{parts, read, slot_bytes, write};
use super::running::{Computed, Running, bounds, outputs};
use super::shape::{ShapeError, check_extents, check_index, check_multiple};
use super::{Case, DataKind, Effort, FloatType, Kernel, Workload, WorkloadError};

const NAME: &str = "attention_combine";
const PARTIALS: u32 = 1;
const LOG_SUMS: u32 = 2;
const OUT: u32 = 8;

params! {
    struct Params {
        batch: u32,
        splits: u32,
        heads: u32,
        queries: u32,
        quads: u32,
        out_head: u32,
        out_token: u32,
    }
}

/// Shape and type of the result. Operands by binding: results of parts f32 `[batch, splits, heads, queries,
/// dim]` 1, their logarithms f32 `[batch, splits, heads, queries]` 2, result 8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttentionCombine {
    /// Sequences.
    pub batch: u32,
    /// Parts of the keys.
    pub splits: u32,
    /// Heads of the queries.
    pub heads: u32,
    /// Queries of a sequence.
    pub queries: u32,
    /// Elements of a row: a multiple of 4.
    pub dim: u32,
    /// Where rows of the result lie: one of the dense places.
    pub place: Place,
    /// Storage of the result.
    pub out: FloatType,
}

impl AttentionCombine {
    /// Checks the shape and makes a launch of it.
    ///
    /// # Errors
    /// [`ShapeError`] for empty extents, a `dim` that is no multiple of 4, a place that is not dense, and more
    /// elements than 32 bits index.
    pub fn launch(self) -> Result<Arc<dyn Launch>, ShapeError> {
        let Self {
            batch,
            splits,
            heads,
            queries,
            dim,
            ..
        } = self;
        let extents = [
            ("batch", batch.into()),
            ("splits", splits.into()),
            ("heads", heads.into()),
            ("queries", queries.into()),
            ("dim", dim.into()),
        ];
        check_extents(NAME, &extents)?;
        check_multiple(NAME, ("dim", dim.into()), ("elements read together,", 4))?;
        let mut elements: u64 = 1;
        for (_, extent) in extents {
            elements = elements.saturating_mul(extent);
        }
        check_index(NAME, "results of all parts", elements)?;
        if !self.place.is_dense(heads, queries, dim) {
            return Err(ShapeError::Unsupported {
                kernel: NAME,
                name: "the place of the result",
                value: format!("{:?}", self.place),
                allowed: "[batch, heads, queries, dim] and [batch, queries, heads, dim]",
            });
        }
        Ok(Arc::new(self))
    }

    const fn rows(&self) -> u64 {
        self.heads as u64 * self.queries as u64
    }

    fn computed(&self, operands: &HostOperands<'_>) -> Vec<Computed> {
        vec![(OUT, self.out, self.values(operands))]
    }

    /// The results and what they may be off by.
    pub(super) fn values(&self, operands: &HostOperands<'_>) -> Vec<Running> {
        let (rows, splits, dim) = (
            self.rows() as usize,
            self.splits as usize,
            self.dim as usize,
        );
        let (partials, logs) = (operands.f32(PARTIALS), operands.f32(LOG_SUMS));
        let queries = self.queries as usize;
        let mut results = vec![Running::exact(0.0); self.batch as usize * rows * dim];
        for sequence in 0..self.batch as usize {
            for row in 0..rows {
                let indices = || (0..splits).map(|split| (sequence * splits + split) * rows + row);
                let largest = indices().map(|index| logs[index]).fold(f32::MIN, f32::max);
                let weight = |index: usize| {
                    let below = Running::loaded(logs[index]) - Running::loaded(largest);
                    // Clamped at e^-100, which is below the smallest normal number.
                    below.exp()
                };
                let weights: Vec<Running> = indices().map(weight).collect();
                let sum = Running::sum(weights.iter().copied());
                let start = self.place.start(sequence, row / queries, row % queries);
                for at in 0..dim {
                    let terms = weights.iter().zip(indices());
                    let terms =
                        terms.map(|(&w, index)| w * Running::loaded(partials[index * dim + at]));
                    results[start + at] = Running::sum(terms) / sum;
                }
            }
        }
        results
    }

    /// The results on a host's cores.
    pub(super) fn combine(&self, operands: &HostOperands<'_>, values: &mut [f32]) {
        let (rows, splits, dim) = (
            self.rows() as usize,
            self.splits as usize,
            self.dim as usize,
        );
        let (partials, logs) = (operands.f32(PARTIALS), operands.f32(LOG_SUMS));
        let queries = self.queries as usize;
        for sequence in 0..self.batch as usize {
            for row in 0..rows {
                let indices = || (0..splits).map(|split| (sequence * splits + split) * rows + row);
                let largest = indices().map(|index| logs[index]).fold(f32::MIN, f32::max);
                let start = self.place.start(sequence, row / queries, row % queries);
                let out = &mut values[start..start + dim];
                out.fill(0.0);
                let mut sum = 0.0;
                for index in indices() {
                    let weight = (logs[index] - largest).exp();
                    sum += weight;
                    add_scaled(out, weight, &partials[index * dim..(index + 1) * dim]);
                }
                out.iter_mut().for_each(|out| *out /= sum);
            }
        }
    }
}

impl Launch for AttentionCombine {
    fn kernel(&self) -> &'static str {
        NAME
    }

    fn describe(&self) -> String {
        let Self {
            batch,
            splits,
            heads,
            queries,
            dim,
            place,
            out,
        } = self;
        let place = if *place == Place::heads_first(*heads, *queries, *dim) {
            ""
        } else {
            " out-tokens-first"
        };
        format!(
            "batch={batch} splits={splits} heads={heads} queries={queries} dim={dim}{place} out-{out}"
        )
    }

    fn slots(&self) -> Vec<Slot> {
        let rows = u64::from(self.batch) * self.rows();
        let (splits, dim) = (u64::from(self.splits), u64::from(self.dim));
        vec![
            read(PARTIALS, "partials", 4 * rows * splits * dim),
            read(LOG_SUMS, "log_sums", 4 * rows * splits),
            write(OUT, "out", rows * dim * self.out.bytes()),
        ]
    }

    fn params(&self) -> Vec<u8> {
        bytemuck::bytes_of(&Params {
            batch: self.batch,
            splits: self.splits,
            heads: self.heads,
            queries: self.queries,
            quads: self.dim / 4,
            out_head: self.place.head,
            out_token: self.place.token,
        })
        .to_vec()
    }

    fn param_fields(&self) -> &'static [(&'static str, usize)] {
        Params::FIELDS
    }

    fn variants(&self, _: &Capabilities) -> Vec<Variant> {
        let variant = Variant::new(NAME).slot("store", self.out.name());
        vec![variant.number("WORKGROUP_SIZE", 64)]
    }

    fn workgroups(&self, variant: &Variant) -> u64 {
        let quads = u64::from(self.batch) * self.rows() * u64::from(self.dim / 4);
        quads.div_ceil(variant.get("WORKGROUP_SIZE").into())
    }

    fn iterations(&self, _: &Variant) -> Iterations {
        let count = 2 * looped(self.splits.into(), 0);
        Iterations {
            unrolled: count,
            rolled: count,
        }
    }

    fn reference(&self, operands: &HostOperands<'_>) -> Vec<Output> {
        outputs(self.computed(operands))
    }

    fn fast(&self, operands: &HostOperands<'_>, results: &mut HostResults<'_>) -> bool {
        let len = self.batch as usize * self.rows() as usize * self.dim as usize;
        fill_stored(results, OUT, (self.out, len), |values| {
            self.combine(operands, values);
        });
        true
    }

    fn bound(&self, operands: &HostOperands<'_>) -> Vec<Bound> {
        bounds(self.computed(operands))
    }

    fn cost(&self) -> Cost {
        let rows = f64::from(self.batch) * self.rows() as f64;
        Cost {
            operations: 2.0 * rows * f64::from(self.splits) * f64::from(self.dim),
            bytes: slot_bytes(&self.slots()),
        }
    }

    fn split(&self, max_bytes: u64, alignment: u64) -> Option<Vec<Part>> {
        let limits = (max_bytes, alignment);
        parts(self.batch, &self.slots(), &[], limits, |run| {
            let batch = run.end - run.start;
            Arc::new(Self { batch, ..*self })
        })
    }
}

fn workload(asked: &mut Workload<'_>) -> Result<Arc<dyn Launch>, WorkloadError> {
    let [batch, splits, heads, queries, dim] = asked.extents("BATCHxSPLITSxHEADSxQUERIESxDIM")?;
    let combine = AttentionCombine {
        batch,
        splits,
        heads,
        queries,
        dim,
        place: Place::heads_first(heads, queries, dim),
        out: asked.float().unwrap_or(FloatType::F32),
    };
    Ok(combine.launch()?)
}

fn cases(effort: Effort) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut shapes = vec![
        [1, 1, 1, 1, 4],
        [2, 3, 4, 1, 8],
        [3, 7, 2, 5, 20],
        [1, 16, 9, 1, 64],
        [20, 2, 4, 2, 8],
    ];
    if effort == Effort::Full {
        shapes.push([2, 64, 9, 3, 128]);
    }
    for (index, [batch, splits, heads, queries, dim]) in shapes.into_iter().enumerate() {
        let outs = [FloatType::F32, FloatType::F16, FloatType::Bf16];
        for out in [FloatType::F32, outs[index % 3]] {
            for place in [
                Place::heads_first(heads, queries, dim),
                Place::tokens_first(heads, queries, dim),
            ] {
                let combine = AttentionCombine {
                    batch,
                    splits,
                    heads,
                    queries,
                    dim,
                    place,
                    out,
                };
                for data in [DataKind::Normal, DataKind::ALL[index]] {
                    cases.extend(case(combine, data));
                }
            }
        }
    }
    let few = AttentionCombine {
        batch: 2,
        splits: 3,
        heads: 2,
        queries: 1,
        dim: 8,
        place: Place::heads_first(2, 1, 8),
        out: FloatType::F32,
    };
    cases.extend(case_of(few, DataKind::Normal, Some(3)));
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    cases.dedup_by(|a, b| a.name == b.name);
    cases
}

/// The case, in which every fifth part has seen no key; `None` only when the shape itself is refused.
fn case(combine: AttentionCombine, data: DataKind) -> Option<Case> {
    case_of(combine, data, None)
}

/// The same with the logarithm of a row of a part that is NaN.
fn case_of(combine: AttentionCombine, data: DataKind, nan: Option<usize>) -> Option<Case> {
    let rows = combine.batch as usize * combine.splits as usize * combine.rows() as usize;
    let partials = data.values(1, rows * combine.dim as usize);
    let mut logs = DataKind::Normal.values(2, rows);
    for log in logs.iter_mut().step_by(5) {
        *log = LOWEST as f32;
    }
    if let Some(at) = nan {
        logs[at] = f32::NAN;
    }
    let operands = vec![
        (PARTIALS, FloatType::F32.pack(&partials)),
        (LOG_SUMS, FloatType::F32.pack(&logs)),
    ];
    let mut case = Case::new(combine.launch().ok()?, operands, data).bounded();
    if nan.is_some() {
        case.name.push_str(" nan");
    }
    Some(case)
}

const BROKEN: &[Edit] = &[
    Edit {
        name: "no_guard",
        module: NAME,
        find: "sequence >= params.batch",
        replace: "sequence > params.batch",
    },
    Edit {
        name: "largest_of_the_first_part",
        module: NAME,
        find: "largest = max(largest, log_sums[first + split * rows]);",
        replace: "largest = max(largest, log_sums[first]);",
    },
    Edit {
        name: "not_divided",
        module: NAME,
        find: "total / sum",
        replace: "total / min(sum, 1.0)",
    },
    Edit {
        name: "last_part_left_out",
        module: NAME,
        find: "for (var split = 0u; split < params.splits; split++)",
        replace: "for (var split = 0u; split < params.splits - 1u; split++)",
    },
    Edit {
        name: "heads_for_tokens",
        module: NAME,
        find: "row / params.queries * params.out_head",
        replace: "row / params.queries * params.out_token",
    },
    Edit {
        name: "parts_of_the_first_sequence",
        module: NAME,
        find: "sequence * params.splits * rows + row;",
        replace: "row;",
    },
];

/// Registry entry.
pub static KERNEL: Kernel = Kernel {
    name: NAME,
    summary: "attention over parts of the keys put together",
    workload,
    cases,
    broken: BROKEN,
    expected_failures: &[],
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_results_that_are_not_dense_and_rows_that_are_not_quads() {
        let combine = AttentionCombine {
            batch: 1,
            splits: 2,
            heads: 2,
            queries: 1,
            dim: 8,
            place: Place::heads_first(2, 1, 8),
            out: FloatType::F32,
        };
        assert!(combine.launch().is_ok());
        let odd = AttentionCombine { dim: 6, ..combine };
        assert!(matches!(
            odd.launch(),
            Err(ShapeError::NotMultiple { name: "dim", .. })
        ));
        let place = Place::heads_first(2, 3, 8);
        let elsewhere = AttentionCombine { place, ..combine };
        assert!(matches!(
            elsewhere.launch(),
            Err(ShapeError::Unsupported { .. })
        ));
    }
}
