//! Inverted dropout: each element is 0 with probability p, else `x / (1 - p)` (Srivastava et al. 2014). The
//! gradient is the same operation on dy, so no mask is stored: it follows from seed, stream, step and place.
//!
//! Element i of a layer takes word i of the stream `step << 32 | stream` of [`Philox`]; it is kept where the
//! upper 24 bits, as a number in [0, 1), are at least p. Seed and stream are fixed when the launch is made,
//! the step lies in a buffer, so that a plan replays with new masks. Masks are equal bit for bit on every
//! adapter.

use std::sync::Arc;

use crate::num::Philox;
use crate::record::{Bound, Cost, HostOperands, Iterations, Launch, Output, Part, Slot, params};
use crate::shader::{Capabilities, Edit, Variant};

use super::rows::{parts, read, slot_bytes, write};
use super::running::{Computed, Running, bounds, outputs};
use super::shape::{ShapeError, check_extents};
use super::{Case, DataKind, Effort, FloatType, Kernel, Workload, WorkloadError};

const NAME: &str = "dropout";
const X: u32 = 1;
const STEP: u32 = 2;
const OUT: u32 = 8;

/// Elements of one random block.
const BLOCK: u32 = 4;

params! {
    struct Params {
        count: u32,
        first_block: u32,
        key_low: u32,
        key_high: u32,
        stream: u32,
        threshold: u32,
        scale: f32,
    }
}

/// Extent, probability and identity of a layer's masks. Operands by binding: x 1, step u32 `[1]` 2, result 8.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dropout {
    /// Elements.
    pub count: u32,
    /// Chance of an element to be dropped, in [0, 1); taken to the nearest multiple of 2^-24.
    pub probability: f32,
    /// Of the run.
    pub seed: u64,
    /// Of the layer: layers with different streams have independent masks.
    pub stream: u32,
    /// Storage of x.
    pub x: FloatType,
    /// Storage of the result.
    pub out: FloatType,
}

/// The launch: all elements, or the run of them that fits a binding limit.
#[derive(Debug, Clone, Copy, PartialEq)]
struct DropoutLaunch {
    whole: Dropout,
    count: u32,
    /// Index of the first element in the whole tensor, a multiple of 4.
    first: u32,
}

impl Dropout {
    /// Checks the extent and makes a launch of it.
    ///
    /// # Errors
    /// [`ShapeError`] for no elements, and a probability that is not in [0, 1).
    pub fn launch(self) -> Result<Arc<dyn Launch>, ShapeError> {
        check_extents(NAME, &[("count", self.count.into())])?;
        if !(0.0..1.0).contains(&self.probability) {
            return Err(ShapeError::Unsupported {
                kernel: NAME,
                name: "probability",
                value: self.probability.to_string(),
                allowed: "0 up to 1, without 1",
            });
        }
        Ok(Arc::new(DropoutLaunch {
            whole: self,
            count: self.count,
            first: 0,
        }))
    }

    /// Whether element `index` is kept in a step.
    pub fn keeps(&self, step: u32, index: u32) -> bool {
        let counter = [index / BLOCK, 0, self.stream, step];
        let block = Philox::new(self.seed).block(counter);
        block[(index % BLOCK) as usize] >> 8 >= self.threshold()
    }

    /// Of the upper 24 bits of a word.
    fn threshold(&self) -> u32 {
        (self.probability * 16_777_216.0).round() as u32
    }

    /// Factor of what is kept.
    fn scale(&self) -> f32 {
        (1.0 / (1.0 - f64::from(self.threshold()) / 16_777_216.0)) as f32
    }
}

impl DropoutLaunch {
    fn computed(&self, operands: &HostOperands<'_>) -> Vec<Computed> {
        let x = self.whole.x.unpack(operands.words(X), self.count as usize);
        let step = operands.words(STEP)[0];
        let scale = Running::exact(self.whole.scale().into());
        let result = |(index, &x): (u32, &f32)| {
            if self.whole.keeps(step, self.first + index) {
                Running::loaded(x) * scale
            } else {
                Running::exact(0.0)
            }
        };
        vec![(OUT, self.whole.out, (0..).zip(&x).map(result).collect())]
    }
}

impl Launch for DropoutLaunch {
    fn kernel(&self) -> &'static str {
        NAME
    }

    fn describe(&self) -> String {
        let Dropout {
            count,
            probability,
            seed,
            stream,
            x,
            out,
        } = self.whole;
        let mut text =
            format!("count={count} p={probability} seed={seed} stream={stream} x-{x} out-{out}");
        if self.count != count {
            text.push_str(&format!(" from {} count={}", self.first, self.count));
        }
        text
    }

    fn slots(&self) -> Vec<Slot> {
        let count = u64::from(self.count);
        vec![
            read(X, "x", count * self.whole.x.bytes()),
            read(STEP, "step_count", 4),
            write(OUT, "out", count * self.whole.out.bytes()),
        ]
    }

    fn params(&self) -> Vec<u8> {
        let [key_low, key_high] = Philox::new(self.whole.seed).key();
        bytemuck::bytes_of(&Params {
            count: self.count,
            first_block: self.first / BLOCK,
            key_low,
            key_high,
            stream: self.whole.stream,
            threshold: self.whole.threshold(),
            scale: self.whole.scale(),
        })
        .to_vec()
    }

    fn param_fields(&self) -> &'static [(&'static str, usize)] {
        Params::FIELDS
    }

    fn variants(&self, _: &Capabilities) -> Vec<Variant> {
        let variant = Variant::new(NAME).slot("element", self.whole.x.name());
        vec![
            variant
                .slot("pair", self.whole.out.name())
                .number("WORKGROUP_SIZE", 64),
        ]
    }

    fn workgroups(&self, variant: &Variant) -> u64 {
        let lanes = u64::from(variant.get("WORKGROUP_SIZE"));
        u64::from(self.count).div_ceil(u64::from(BLOCK) * lanes)
    }

    fn iterations(&self, _: &Variant) -> Iterations {
        Iterations {
            unrolled: 0,
            rolled: 11,
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
            // Ten rounds of two wide products for four elements.
            operations: 40.0 * f64::from(self.count),
            bytes: slot_bytes(&self.slots()),
        }
    }

    fn split(&self, max_bytes: u64, alignment: u64) -> Option<Vec<Part>> {
        // Offsets are multiples of 4 elements or more with any alignment of 16 bytes or more.
        if alignment < 16 {
            return None;
        }
        let limits = (max_bytes, alignment);
        parts(self.count, &self.slots(), &[STEP], limits, |run| {
            Arc::new(Self {
                count: run.end - run.start,
                first: self.first + run.start,
                ..*self
            })
        })
    }
}

fn workload(asked: &mut Workload<'_>) -> Result<Arc<dyn Launch>, WorkloadError> {
    let [count] = asked.extents("COUNT")?;
    let x = asked.float().unwrap_or(FloatType::F32);
    let dropout = Dropout {
        count,
        probability: 0.5,
        seed: 1,
        stream: 0,
        x,
        out: x,
    };
    Ok(dropout.launch()?)
}

/// Registry entry.
pub static KERNEL: Kernel = Kernel {
    name: NAME,
    summary: "inverted dropout with masks from a counter, equal on every adapter",
    workload,
    cases,
    broken: BROKEN,
    expected_failures: &[],
};

fn cases(effort: Effort) -> Vec<Case> {
    let mut counts = vec![1, 2, 3, 4, 5, 255, 257, 4099];
    if effort == Effort::Full {
        counts.push(1 << 18);
    }
    let mut cases = Vec::new();
    for (index, count) in counts.into_iter().enumerate() {
        let types = [FloatType::F32, FloatType::F16, FloatType::Bf16];
        let dropout = Dropout {
            count,
            // Factors of 2, 1 and 4: exact on integers.
            probability: [0.5, 0.0, 0.75][index % 3],
            seed: 0x0123_4567_89ab_cdef,
            stream: 7,
            x: types[index % 3],
            out: types[(index / 3) % 3],
        };
        cases.extend(case(dropout, DataKind::Integers, 5 + index as u32));
        let rounded = Dropout {
            probability: 0.1,
            stream: u32::MAX,
            ..dropout
        };
        cases.extend(case(rounded, DataKind::Normal, u32::MAX));
        let plain = Dropout {
            x: FloatType::F32,
            out: FloatType::F32,
            ..dropout
        };
        cases.extend(case(plain, DataKind::ALL[index % 7], 0));
    }
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    cases.dedup_by(|a, b| a.name == b.name);
    cases
}

/// The case; `None` only when the shape itself is refused, which the shape tests cover.
fn case(dropout: Dropout, data: DataKind, step: u32) -> Option<Case> {
    let values = data.values(dropout.count.into(), dropout.count as usize);
    let operands = vec![(X, dropout.x.pack(&values)), (STEP, vec![step])];
    let mut case = Case::new(dropout.launch().ok()?, operands, data);
    case.name.push_str(&format!(" step={step}"));
    Some(case)
}

const BROKEN: &[Edit] = &[
    Edit {
        name: "step_not_counted",
        module: NAME,
        find: "step_count[0]",
        replace: "0u * step_count[0]",
    },
    Edit {
        name: "every_block_the_first",
        module: NAME,
        find: "params.first_block + block",
        replace: "params.first_block",
    },
    Edit {
        name: "not_scaled",
        module: NAME,
        find: " * params.scale",
        replace: "",
    },
    Edit {
        name: "second_pair_lost",
        module: NAME,
        find: "if (index + 2u < params.count)",
        replace: "if (index + 4u < params.count)",
    },
    Edit {
        name: "last_word_for_the_third_too",
        module: NAME,
        find: "kept_bits(index + 2u, words.z)",
        replace: "kept_bits(index + 2u, words.w)",
    },
    Edit {
        name: "nine_rounds",
        module: "lib/philox",
        find: "round < 10u",
        replace: "round < 9u",
    },
    Edit {
        name: "carry_lost",
        module: "lib/philox",
        find: "(left >> 16u) + (right >> 16u)",
        replace: "(left >> 16u)",
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::parts_test::check_parts;

    const DROPOUT: Dropout = Dropout {
        count: 10_000,
        probability: 0.3,
        seed: 3,
        stream: 2,
        x: FloatType::F32,
        out: FloatType::F32,
    };

    #[test]
    fn rejects_probabilities_that_keep_nothing_or_are_none() {
        for probability in [-0.1, 1.0, 1.5, f32::NAN] {
            let launch = Dropout {
                probability,
                ..DROPOUT
            }
            .launch();
            assert!(
                matches!(launch, Err(ShapeError::Unsupported { .. })),
                "{probability}"
            );
        }
    }

    #[test]
    fn masks_are_words_of_the_stream_of_layer_and_step() {
        let mut stream = Philox::new(3).stream(9 << 32 | 2);
        for index in 0..100 {
            assert_eq!(DROPOUT.keeps(9, index), stream.uniform() >= 0.3, "{index}");
        }
    }

    #[test]
    fn the_kept_share_and_the_mean_are_as_asked() {
        let kept = (0..10_000).filter(|&index| DROPOUT.keeps(1, index)).count() as f32;
        assert!((kept / 10_000.0 - 0.7).abs() < 0.02, "{kept}");
        assert!((DROPOUT.scale() * 0.7 - 1.0).abs() < 1e-6);
        let differing =
            (0..1000).filter(|&index| DROPOUT.keeps(1, index) != DROPOUT.keeps(2, index));
        assert!(differing.count() > 300);
    }

    #[test]
    fn parts_make_what_the_whole_makes() {
        let launch = DROPOUT.launch().expect("valid");
        let x = FloatType::F32.pack(&DataKind::Normal.values(1, 10_000));
        let operands = [(X, x), (STEP, vec![4])];
        assert!(check_parts(launch.as_ref(), &operands, 4096, 256) > 5);
    }
}
