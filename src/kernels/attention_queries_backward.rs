//! The gradient of the queries of attention; what it is, and what it shares with the gradient of keys and
//! values, stands in `attention/gradient.rs`.

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

const NAME: &str = "attention_queries_backward";
const OUT: u32 = 8;

/// Keys taken together.
const KEYS: u32 = 4;

/// The gradient of q. Operands by binding: q 1, k 2, v 3, the gradient of the result 4, statistics f32
/// `[batch, heads, queries, 2]` 5, numbers of keys u32 `[batch]` 7 where the shape has them, result 8.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionQueriesBackward(pub AttentionGradient);

impl AttentionQueriesBackward {
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
        let mut results = vec![Running::exact(0.0); shape.rows() as usize * dim];
        for sequence in 0..shape.batch as usize {
            for head in 0..shape.heads as usize {
                let kv_head = shape.kv_head(head);
                for query in 0..shape.queries as usize {
                    let keys = 0..unpacked.visible(sequence, query);
                    let slopes: Vec<(Running, &[Running])> = keys
                        .map(|key| {
                            let slope = unpacked.pair([sequence, head, query], key).slope;
                            let start = shape.k.start(sequence, kv_head, key);
                            (slope, unpacked.row(&unpacked.k, start))
                        })
                        .collect();
                    let start = shape.q.start(sequence, head, query);
                    for at in 0..dim {
                        let terms = slopes.iter().map(|(slope, k)| *slope * k[at]);
                        results[start + at] = Running::loaded(shape.scale) * Running::sum(terms);
                    }
                }
            }
        }
        vec![(OUT, self.0.out, results)]
    }
}

impl Launch for AttentionQueriesBackward {
    fn kernel(&self) -> &'static str {
        NAME
    }

    fn describe(&self) -> String {
        self.0.describe()
    }

    fn slots(&self) -> Vec<Slot> {
        let mut slots = self.0.slots();
        let bytes = self.0.bytes(self.0.shape.q.batch, self.0.out);
        slots.push(write(OUT, "out", bytes));
        slots
    }

    fn params(&self) -> Vec<u8> {
        self.0.shape.params(1)
    }

    fn param_fields(&self) -> &'static [(&'static str, usize)] {
        AttentionShape::param_fields()
    }

    fn variants(&self, capabilities: &Capabilities) -> Vec<Variant> {
        let entry = Variant::new(NAME).number("KEYS", KEYS);
        let rows = self.0.shape.shared_rows();
        self.0.variants((&entry, rows, 3), capabilities)
    }

    fn workgroups(&self, variant: &Variant) -> u64 {
        let number = |name| u64::from(variant.get(name));
        let shape = &self.0.shape;
        let tiles = shape.shared_rows().div_ceil(number("TILE"));
        let lanes = u64::from(shape.batch) * u64::from(shape.kv_heads) * tiles;
        lanes.div_ceil(number("WORKGROUP_SIZE"))
    }

    fn iterations(&self, variant: &Variant) -> Iterations {
        let number = |name| u64::from(variant.get(name));
        let (tile, quads, keys) = (number("TILE"), number("QUADS"), number("KEYS"));
        let steps = u64::from(self.0.shape.keys).div_ceil(keys);
        let products = looped(quads, looped(keys, looped(tile, 0)));
        let rolled = looped(keys, 0) + 2 * products + looped(tile, looped(keys, 0));
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
            operations: 3.0 * self.0.shape.product_operations(),
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
    Ok(AttentionQueriesBackward(gradient).launch()?)
}

fn cases(effort: Effort) -> Vec<Case> {
    let mut samples = AttentionGradient::samples();
    if effort == Effort::Full {
        samples.extend(AttentionGradient::long_samples());
    }
    let launch = |one| AttentionQueriesBackward(one).launch().ok();
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
        find: "if (first_row + row < rows)",
        replace: "if (first_row + row <= rows)",
    },
    Edit {
        name: "delta_not_subtracted",
        module: NAME,
        find: " - known[row].y)",
        replace: " - 0.0 * known[row].y)",
    },
    Edit {
        name: "keys_past_the_last_seen",
        module: NAME,
        find: "select(0.0, slope, key + i < seen[row])",
        replace: "select(0.0, slope, key + i < last)",
    },
    Edit {
        name: "not_scaled_twice",
        module: NAME,
        find: "let result = params.scale * total",
        replace: "let result = 1.0 * total",
    },
    Edit {
        name: "values_for_keys",
        module: NAME,
        find: "let k = load_key4(keys[i] + 4u * quad);\n                for",
        replace: "let k = load_value4(keys[i] + 4u * quad);\n                for",
    },
    Edit {
        name: "statistics_of_the_first_sequence",
        module: NAME,
        find: "statistics[sequence * params.heads * params.queries + index]",
        replace: "statistics[index]",
    },
];

/// Registry entry.
pub static KERNEL: Kernel = Kernel {
    name: NAME,
    summary: "gradient of the queries of attention",
    workload,
    cases,
    broken: BROKEN,
    expected_failures: &[],
};
