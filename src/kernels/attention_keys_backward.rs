//! The gradients of the keys and values of attention; what they are, and what they share with the gradient of
//! the queries, stands in `attention/gradient.rs`. Keys behind those of a sequence have gradients of zero.

use std::sync::Arc;

use crate::record::{Bound, Cost, HostOperands, Iterations, Launch, Output, Part, Slot};
use crate::shader::{Capabilities, Edit, Variant};

use super::attention::gradient::AttentionGradient;
use super::attention::{AttentionShape, NAN_AS_ONE, asked_shape, lengths_within};
use super::iterations::looped;
use super::rows::{parts, slot_bytes, write};
use super::running::{Computed, Running, bounds, outputs};
use super::shape::ShapeError;
use super::{Case, Effort, FloatType, Kernel, Workload, WorkloadError};

const NAME: &str = "attention_keys_backward";
const OUT: u32 = 8;
const OUT_SECOND: u32 = 9;

/// Rows of queries taken together.
const ROWS: u32 = 4;

/// The gradients of k and v. Operands by binding: q 1, k 2, v 3, the gradient of the result 4, statistics f32
/// `[batch, heads, queries, 2]` 5, numbers of keys u32 `[batch]` 7 where the shape has them, gradient of k 8,
/// of v 9.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionKeysBackward(pub AttentionGradient);

impl AttentionKeysBackward {
    /// Checks the shape and makes a launch of it.
    ///
    /// # Errors
    /// [`ShapeError`] as for attention, and for operands that are not dense.
    pub fn launch(self) -> Result<Arc<dyn Launch>, ShapeError> {
        self.0.check(NAME)?;
        Ok(Arc::new(self))
    }

    fn computed(&self, operands: &HostOperands<'_>) -> Vec<Computed> {
        let shape = &self.0.shape;
        let dim = shape.dim as usize;
        let unpacked = self.0.unpack(operands);
        let len = shape.batch as usize * shape.k.batch as usize;
        let mut dk = vec![Running::exact(0.0); len];
        let mut dv = dk.clone();
        let group = (shape.heads / shape.kv_heads) as usize;
        for sequence in 0..shape.batch as usize {
            for kv_head in 0..shape.kv_heads as usize {
                for key in 0..shape.keys as usize {
                    let mut terms = Vec::new();
                    for head in kv_head * group..(kv_head + 1) * group {
                        for query in 0..shape.queries as usize {
                            if key >= unpacked.visible(sequence, query) {
                                continue;
                            }
                            let pair = unpacked.pair([sequence, head, query], key);
                            let start = shape.q.start(sequence, head, query);
                            let q = unpacked.row(&unpacked.q, start);
                            let start = shape.out.start(sequence, head, query);
                            terms.push((pair, q, unpacked.row(&unpacked.upstream, start)));
                        }
                    }
                    let scale = Running::loaded(shape.scale);
                    let start = shape.k.start(sequence, kv_head, key);
                    let start_v = shape.v.start(sequence, kv_head, key);
                    for at in 0..dim {
                        let left = terms
                            .iter()
                            .map(|(pair, q, _)| pair.slope * (scale * q[at]));
                        dk[start + at] = Running::sum(left);
                        let right = terms.iter().map(|(pair, _, dy)| pair.share * dy[at]);
                        dv[start_v + at] = Running::sum(right);
                    }
                }
            }
        }
        vec![(OUT, self.0.out, dk), (OUT_SECOND, self.0.out, dv)]
    }
}

impl Launch for AttentionKeysBackward {
    fn kernel(&self) -> &'static str {
        NAME
    }

    fn describe(&self) -> String {
        self.0.describe()
    }

    fn slots(&self) -> Vec<Slot> {
        let (shape, out) = (&self.0.shape, self.0.out);
        let mut slots = self.0.slots();
        slots.push(write(OUT, "out", self.0.bytes(shape.k.batch, out)));
        slots.push(write(
            OUT_SECOND,
            "out_second",
            self.0.bytes(shape.v.batch, out),
        ));
        slots
    }

    fn params(&self) -> Vec<u8> {
        self.0.shape.params(1)
    }

    fn param_fields(&self) -> &'static [(&'static str, usize)] {
        AttentionShape::param_fields()
    }

    fn variants(&self, capabilities: &Capabilities) -> Vec<Variant> {
        let entry = Variant::new(NAME)
            .number("ROWS", ROWS)
            .slot("store_second", self.0.out.name());
        let keys = self.0.shape.keys.into();
        self.0.variants((&entry, keys, 4), capabilities)
    }

    fn workgroups(&self, variant: &Variant) -> u64 {
        let number = |name| u64::from(variant.get(name));
        let shape = &self.0.shape;
        let tiles = u64::from(shape.keys).div_ceil(number("TILE"));
        let lanes = u64::from(shape.batch) * u64::from(shape.kv_heads) * tiles;
        lanes.div_ceil(number("WORKGROUP_SIZE"))
    }

    fn iterations(&self, variant: &Variant) -> Iterations {
        let number = |name| u64::from(variant.get(name));
        let (tile, quads, rows) = (number("TILE"), number("QUADS"), number("ROWS"));
        let steps = self.0.shape.shared_rows().div_ceil(rows);
        let products = looped(quads, looped(rows, looped(tile, 0)));
        let rolled = looped(rows, 0) + 2 * products + looped(tile, looped(rows, 0));
        Iterations {
            unrolled: looped(steps, 0),
            rolled: looped(steps, rolled) + 2 * looped(tile, looped(quads, 0)),
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
            operations: 4.0 * self.0.shape.product_operations(),
            bytes: slot_bytes(&self.slots()),
        }
    }

    fn example(&self, seed: u64) -> Vec<(u32, Vec<u32>)> {
        lengths_within(&self.slots(), self.0.shape.keys, seed)
    }

    fn split(&self, max_bytes: u64, alignment: u64) -> Option<Vec<Part>> {
        let limits = (max_bytes, alignment);
        parts(self.0.shape.batch, &self.slots(), &[], limits, |run| {
            let mut part = *self;
            part.0.shape.batch = run.end - run.start;
            Arc::new(part)
        })
    }
}

fn workload(asked: &mut Workload<'_>) -> Result<Arc<dyn Launch>, WorkloadError> {
    let shape = asked_shape(asked)?;
    let storage = asked.float().unwrap_or(FloatType::F32);
    let gradient = AttentionGradient {
        shape,
        q: storage,
        kv: storage,
        upstream: storage,
        out: storage,
    };
    Ok(AttentionKeysBackward(gradient).launch()?)
}

fn cases(effort: Effort) -> Vec<Case> {
    let mut samples = AttentionGradient::samples();
    if effort == Effort::Full {
        samples.extend(AttentionGradient::long_samples());
    }
    let launch = |one| AttentionKeysBackward(one).launch().ok();
    let made = samples
        .into_iter()
        .filter_map(|(one, data)| one.case(launch, data));
    made.chain(AttentionGradient::not_finite(launch)).collect()
}

const BROKEN: &[Edit] = &[
    NAN_AS_ONE,
    Edit {
        name: "no_guard",
        module: NAME,
        find: "if (first_key + key < params.keys)",
        replace: "if (first_key + key <= params.keys)",
    },
    Edit {
        name: "delta_not_subtracted",
        module: NAME,
        find: " - known[i].y)",
        replace: " - 0.0 * known[i].y)",
    },
    Edit {
        name: "last_rows_counted_twice",
        module: NAME,
        find: "select(0u, visible_keys(query, length), row + i < rows)",
        replace: "visible_keys(query, length)",
    },
    Edit {
        name: "keys_seen_by_all",
        module: NAME,
        find: "let is_seen = first_key + key < seen[i];",
        replace: "let is_seen = first_key + key < most;",
    },
    Edit {
        name: "skipped_where_the_last_sees",
        module: NAME,
        find: "most <= first_key",
        replace: "most <= first_key + 1u",
    },
    Edit {
        name: "queries_of_the_first_head",
        module: NAME,
        find: "let row_base = kv_head * rows;",
        replace: "let row_base = 0u * kv_head;",
    },
    Edit {
        name: "high_half_of_the_second_lost",
        module: "store_second/f16",
        find: "low | (high << 16u)",
        replace: "low",
    },
];

/// Registry entry.
pub static KERNEL: Kernel = Kernel {
    name: NAME,
    summary: "gradients of the keys and values of attention",
    workload,
    cases,
    broken: BROKEN,
    expected_failures: &[],
};
