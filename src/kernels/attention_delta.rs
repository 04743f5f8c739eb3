//! What the gradient of attention needs of each row of the result, beside its operands: the logarithm of the
//! row's sum, copied, and `delta = sum_d out_d dout_d`, which is the mean of the gradients of its shares.

use std::sync::Arc;

use crate::record::{Bound, Cost, HostOperands, Iterations, Launch, Output, Part, Slot, params};
use crate::shader::{Capabilities, Edit, Variant};

use super::attention::{Place, loaded, quads};
use super::iterations::looped;
use super::rows::{parts, read, slot_bytes, write};
use super::running::{Computed, Running, bounds, outputs};
use super::shape::{ShapeError, check_extents, check_index, check_multiple};
use super::{Case, DataKind, Effort, FloatType, Kernel, Workload, WorkloadError};

const NAME: &str = "attention_delta";
const RESULT: u32 = 1;
const UPSTREAM: u32 = 2;
const LOG_SUMS: u32 = 3;
const OUT: u32 = 8;

params! {
    struct Params {
        rows: u32,
        heads: u32,
        queries: u32,
        quads: u32,
        out_head: u32,
        out_token: u32,
    }
}

/// Shape and types. Operands by binding: result of attention 1, its gradient 2, logarithms f32 `[batch, heads,
/// queries]` 3, statistics f32 `[batch, heads, queries, 2]` 8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttentionDelta {
    /// Sequences.
    pub batch: u32,
    /// Heads of the queries.
    pub heads: u32,
    /// Queries of a sequence.
    pub queries: u32,
    /// Elements of a row: a multiple of 4.
    pub dim: u32,
    /// Where rows of the result and its gradient lie: one of the dense places.
    pub place: Place,
    /// Storage of the result.
    pub result: FloatType,
    /// Storage of its gradient.
    pub upstream: FloatType,
}

impl AttentionDelta {
    /// Checks the shape and makes a launch of it.
    ///
    /// # Errors
    /// [`ShapeError`] for empty extents, a `dim` that is no multiple of 4, a place that is not dense, and more
    /// elements than 32 bits index.
    pub fn launch(self) -> Result<Arc<dyn Launch>, ShapeError> {
        let Self {
            batch,
            heads,
            queries,
            dim,
            ..
        } = self;
        let extents = [
            ("batch", batch.into()),
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
        check_index(NAME, "batch * heads * queries * dim", elements)?;
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
        self.batch as u64 * self.heads as u64 * self.queries as u64
    }

    fn computed(&self, operands: &HostOperands<'_>) -> Vec<Computed> {
        let (dim, rows) = (self.dim as usize, self.rows() as usize);
        let result = loaded(self.result, operands.words(RESULT), rows * dim);
        let upstream = loaded(self.upstream, operands.words(UPSTREAM), rows * dim);
        let (heads, queries) = (self.heads as usize, self.queries as usize);
        let mut statistics = Vec::with_capacity(2 * rows);
        for (row, &log) in operands.f32(LOG_SUMS)[..rows].iter().enumerate() {
            let start =
                self.place
                    .start(row / queries / heads, row / queries % heads, row % queries);
            let terms = result[start..start + dim].iter().zip(&upstream[start..]);
            let delta = Running::sum(terms.map(|(&a, &b)| a * b));
            statistics.extend([Running::loaded(log), delta]);
        }
        vec![(OUT, FloatType::F32, statistics)]
    }
}

impl Launch for AttentionDelta {
    fn kernel(&self) -> &'static str {
        NAME
    }

    fn describe(&self) -> String {
        let Self {
            batch,
            heads,
            queries,
            dim,
            place,
            result,
            upstream,
        } = self;
        let place = if *place == Place::heads_first(*heads, *queries, *dim) {
            ""
        } else {
            " tokens-first"
        };
        format!(
            "batch={batch} heads={heads} queries={queries} dim={dim}{place} x-{result} dy-{upstream}"
        )
    }

    fn slots(&self) -> Vec<Slot> {
        let (rows, dim) = (self.rows(), u64::from(self.dim));
        vec![
            read(RESULT, "matrix_a", rows * dim * self.result.bytes()),
            read(UPSTREAM, "matrix_b", rows * dim * self.upstream.bytes()),
            read(LOG_SUMS, "log_sums", 4 * rows),
            write(OUT, "statistics", 8 * rows),
        ]
    }

    fn params(&self) -> Vec<u8> {
        bytemuck::bytes_of(&Params {
            rows: self.rows() as u32,
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
        let variant = Variant::new(NAME)
            .slot("a", quads(self.result))
            .slot("b", quads(self.upstream));
        vec![variant.number("WORKGROUP_SIZE", 64)]
    }

    fn workgroups(&self, variant: &Variant) -> u64 {
        self.rows().div_ceil(variant.get("WORKGROUP_SIZE").into())
    }

    fn iterations(&self, _: &Variant) -> Iterations {
        let count = looped(u64::from(self.dim / 4), 0);
        Iterations {
            unrolled: count,
            rolled: count,
        }
    }

    fn reference(&self, operands: &HostOperands<'_>) -> Vec<Output> {
        outputs(self.computed(operands))
    }

    fn bound(&self, operands: &HostOperands<'_>) -> Vec<Bound> {
        bounds(self.computed(operands))
    }

    fn cost(&self) -> Cost {
        Cost {
            operations: 2.0 * self.rows() as f64 * f64::from(self.dim),
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
    let [batch, heads, queries, dim] = asked.extents("BATCHxHEADSxQUERIESxDIM")?;
    let storage = asked.float().unwrap_or(FloatType::F32);
    let delta = AttentionDelta {
        batch,
        heads,
        queries,
        dim,
        place: Place::heads_first(heads, queries, dim),
        result: storage,
        upstream: storage,
    };
    Ok(delta.launch()?)
}

fn cases(effort: Effort) -> Vec<Case> {
    const TYPES: [FloatType; 3] = [FloatType::F32, FloatType::F16, FloatType::Bf16];
    let mut cases = Vec::new();
    let mut shapes = vec![
        [1, 1, 1, 4],
        [2, 3, 5, 8],
        [3, 4, 7, 20],
        [1, 2, 65, 64],
        [20, 8, 8, 8],
    ];
    if effort == Effort::Full {
        shapes.push([2, 9, 70, 128]);
    }
    for (index, [batch, heads, queries, dim]) in shapes.into_iter().enumerate() {
        for turn in 0..3 {
            let place = if turn == 1 {
                Place::tokens_first(heads, queries, dim)
            } else {
                Place::heads_first(heads, queries, dim)
            };
            let delta = AttentionDelta {
                batch,
                heads,
                queries,
                dim,
                place,
                result: TYPES[turn],
                upstream: TYPES[(index + turn) % 3],
            };
            for data in [DataKind::Integers, DataKind::ALL[1 + (index + turn) % 6]] {
                cases.extend(case(delta, data));
            }
        }
    }
    cases
}

/// The case; `None` only when the shape itself is refused, which the shape tests cover.
fn case(delta: AttentionDelta, data: DataKind) -> Option<Case> {
    let rows = delta.rows() as usize;
    let values = |seed| data.values(seed, rows * delta.dim as usize);
    let operands = vec![
        (RESULT, delta.result.pack(&values(1))),
        (UPSTREAM, delta.upstream.pack(&values(2))),
        (
            LOG_SUMS,
            FloatType::F32.pack(&DataKind::Normal.values(3, rows)),
        ),
    ];
    Some(Case::new(delta.launch().ok()?, operands, data))
}

const BROKEN: &[Edit] = &[
    Edit {
        name: "no_guard",
        module: NAME,
        find: "row >= params.rows",
        replace: "row > params.rows",
    },
    Edit {
        name: "last_quad_left_out",
        module: NAME,
        find: "quad < params.quads; quad++",
        replace: "quad + 1u < params.quads; quad++",
    },
    Edit {
        name: "square_of_the_result",
        module: NAME,
        find: "load_b4(start + 4u * quad)",
        replace: "load_a4(start + 4u * quad) + 0.0 * load_b4(start)",
    },
    Edit {
        name: "heads_for_tokens",
        module: NAME,
        find: "head * params.out_head",
        replace: "head * params.out_token",
    },
    Edit {
        name: "logarithm_of_the_first_row",
        module: NAME,
        find: "log_sums[row]",
        replace: "log_sums[0u * row]",
    },
];

/// Registry entry.
pub static KERNEL: Kernel = Kernel {
    name: NAME,
    summary: "products of the rows of attention's result with their gradients",
    workload,
    cases,
    broken: BROKEN,
    expected_failures: &[],
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_empty_extents_and_rows_that_are_not_quads() {
        let delta = AttentionDelta {
            batch: 1,
            heads: 2,
            queries: 3,
            dim: 8,
            place: Place::heads_first(2, 3, 8),
            result: FloatType::F32,
            upstream: FloatType::F32,
        };
        assert!(delta.launch().is_ok());
        let empty = AttentionDelta { heads: 0, ..delta };
        assert!(matches!(
            empty.launch(),
            Err(ShapeError::Zero { name: "heads", .. })
        ));
        let odd = AttentionDelta { dim: 10, ..delta };
        assert!(matches!(
            odd.launch(),
            Err(ShapeError::NotMultiple { name: "dim", .. })
        ));
    }
}
