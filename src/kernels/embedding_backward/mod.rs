//! Gradient of an embedding table: `out [vocabulary, width]`, row v being the sum of `dy[t]` over the tokens t
//! whose index is v, in the order of tokens. Rows that no token has are zero; an index past the table adds to
//! none. The order is fixed and nothing is added by atomics, so results repeat bit for bit.
//!
//! A row of the table is made by one lane that looks at all tokens, or 64 columns of it by a workgroup that
//! looks at 64 at once: `vocabulary * tokens` comparisons of integers, few beside the products of a training step.

mod cases;

use std::sync::Arc;

use crate::record::{Bound, Cost, HostOperands, Iterations, Launch, Output, Part, Slot, params};
use crate::shader::{Capabilities, Variant};

use super::embedding::with_indices;
use super::iterations::looped;
use super::rows::{parts, read, slot_bytes, write};
use super::running::{Computed, Running, bounds, outputs};
use super::shape::{ShapeError, check_extents, check_index};
use super::{FloatType, Kernel, Workload, WorkloadError};

const NAME: &str = "embedding_backward";
const WORKGROUP: &str = "embedding_backward/workgroup";
const DY: u32 = 1;
const INDICES: u32 = 2;
const OUT: u32 = 8;

/// Most tokens of a sum: past it a f32 sum has no bound worth the name.
const MAX_TOKENS: u64 = 1 << 22;

params! {
    struct Params {
        rows: u32,
        first: u32,
        tokens: u32,
        width: u32,
    }
}

/// Shape and type. Operands by binding: dy 1, indices u32 `[tokens]` 2, gradient f32 8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EmbeddingBackward {
    /// Rows of dy.
    pub tokens: u32,
    /// Elements of a row.
    pub width: u32,
    /// Rows of the table.
    pub vocabulary: u32,
    /// Storage of dy.
    pub dy: FloatType,
}

/// The launch: all rows of the table, or the run of them that fits a binding limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct EmbeddingBackwardLaunch {
    whole: EmbeddingBackward,
    rows: u32,
    first: u32,
}

impl EmbeddingBackward {
    /// Checks the shape and makes a launch of it.
    ///
    /// # Errors
    /// [`ShapeError`] for empty extents, more than 2^22 tokens, and more elements than 32 bits index.
    pub fn launch(self) -> Result<Arc<dyn Launch>, ShapeError> {
        let [tokens, width, vocabulary] = [self.tokens, self.width, self.vocabulary].map(u64::from);
        let extents = [
            ("tokens", tokens),
            ("width", width),
            ("vocabulary", vocabulary),
        ];
        check_extents(NAME, &extents)?;
        if tokens > MAX_TOKENS {
            return Err(ShapeError::TooLarge {
                kernel: NAME,
                name: "tokens",
                value: tokens,
                limit: MAX_TOKENS,
                reason: "longer f32 sums have no useful error bound",
            });
        }
        check_index(NAME, "tokens * width", tokens * width)?;
        check_index(NAME, "vocabulary * width", vocabulary * width)?;
        Ok(Arc::new(EmbeddingBackwardLaunch {
            whole: self,
            rows: self.vocabulary,
            first: 0,
        }))
    }
}

impl EmbeddingBackwardLaunch {
    fn computed(&self, operands: &HostOperands<'_>) -> Vec<Computed> {
        let (tokens, width) = (self.whole.tokens as usize, self.whole.width as usize);
        let dy = self.whole.dy.unpack(operands.words(DY), tokens * width);
        let indices = &operands.words(INDICES)[..tokens];
        let mut results = Vec::with_capacity(self.rows as usize * width);
        for row in self.first..self.first + self.rows {
            let own: Vec<usize> = (0..tokens).filter(|&token| indices[token] == row).collect();
            for column in 0..width {
                let term = |&token: &usize| Running::loaded(dy[token * width + column]);
                results.push(Running::sum(own.iter().map(term)));
            }
        }
        vec![(OUT, FloatType::F32, results)]
    }
}

impl Launch for EmbeddingBackwardLaunch {
    fn kernel(&self) -> &'static str {
        NAME
    }

    fn describe(&self) -> String {
        let EmbeddingBackward {
            tokens,
            width,
            vocabulary,
            dy,
        } = self.whole;
        let mut text = format!("tokens={tokens} width={width} vocabulary={vocabulary} dy-{dy}");
        if self.rows != vocabulary {
            text.push_str(&format!(" from {} rows={}", self.first, self.rows));
        }
        text
    }

    fn slots(&self) -> Vec<Slot> {
        let [tokens, width] = [self.whole.tokens, self.whole.width].map(u64::from);
        vec![
            read(DY, "x", tokens * width * self.whole.dy.bytes()),
            read(INDICES, "indices", 4 * tokens),
            write(OUT, "out", 4 * u64::from(self.rows) * width),
        ]
    }

    fn params(&self) -> Vec<u8> {
        bytemuck::bytes_of(&Params {
            rows: self.rows,
            first: self.first,
            tokens: self.whole.tokens,
            width: self.whole.width,
        })
        .to_vec()
    }

    fn param_fields(&self) -> &'static [(&'static str, usize)] {
        Params::FIELDS
    }

    fn variants(&self, capabilities: &Capabilities) -> Vec<Variant> {
        let variant = |entry| {
            let variant = Variant::new(entry).slot("element", self.whole.dy.name());
            variant.number("WORKGROUP_SIZE", 64)
        };
        let mut variants = vec![variant(WORKGROUP), variant(NAME)];
        if capabilities.software {
            // A CPU wants no barriers.
            variants.reverse();
        }
        variants
    }

    fn workgroups(&self, variant: &Variant) -> u64 {
        let rows = u64::from(self.rows);
        if variant.entry() == NAME {
            rows.div_ceil(variant.get("WORKGROUP_SIZE").into())
        } else {
            rows * u64::from(self.whole.width).div_ceil(variant.get("WORKGROUP_SIZE").into())
        }
    }

    fn iterations(&self, variant: &Variant) -> Iterations {
        let lanes = u64::from(variant.get("WORKGROUP_SIZE"));
        let [tokens, width] = [self.whole.tokens, self.whole.width].map(u64::from);
        // As many as when every token has the same index.
        let count = if variant.entry() == NAME {
            looped(width, 0) + looped(tokens, looped(width, 0))
        } else {
            looped(tokens.div_ceil(lanes), looped(lanes / 32, 1)) + tokens
        };
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
            operations: f64::from(self.whole.tokens) * f64::from(self.whole.width),
            bytes: slot_bytes(&self.slots()),
        }
    }

    fn example(&self, seed: u64) -> Vec<(u32, Vec<u32>)> {
        with_indices(&self.slots(), (INDICES, self.whole.vocabulary), seed)
    }

    fn split(&self, max_bytes: u64, alignment: u64) -> Option<Vec<Part>> {
        let limits = (max_bytes, alignment);
        parts(self.rows, &self.slots(), &[DY, INDICES], limits, |run| {
            Arc::new(Self {
                rows: run.end - run.start,
                first: self.first + run.start,
                ..*self
            })
        })
    }
}

fn workload(asked: &mut Workload<'_>) -> Result<Arc<dyn Launch>, WorkloadError> {
    let [tokens, width, vocabulary] = asked.extents("TOKENSxWIDTHxVOCABULARY")?;
    let shape = EmbeddingBackward {
        tokens,
        width,
        vocabulary,
        dy: asked.float().unwrap_or(FloatType::F32),
    };
    Ok(shape.launch()?)
}

/// Registry entry.
pub static KERNEL: Kernel = Kernel {
    name: NAME,
    summary: "gradient of an embedding table, summed in the order of tokens",
    workload,
    cases: cases::cases,
    broken: cases::BROKEN,
    expected_failures: &[],
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::DataKind;
    use crate::kernels::parts_test::check_parts;

    #[test]
    fn rejects_too_many_tokens() {
        let shape = EmbeddingBackward {
            tokens: MAX_TOKENS as u32 + 1,
            width: 1,
            vocabulary: 5,
            dy: FloatType::F32,
        };
        assert!(matches!(
            shape.launch(),
            Err(ShapeError::TooLarge { name: "tokens", .. })
        ));
    }

    #[test]
    fn parts_make_what_the_whole_makes() {
        let shape = EmbeddingBackward {
            tokens: 50,
            width: 16,
            vocabulary: 300,
            dy: FloatType::F32,
        };
        let launch = shape.launch().expect("valid");
        let dy = FloatType::F32.pack(&DataKind::Normal.values(1, 800));
        let operands = [
            (DY, dy),
            (INDICES, (0..50).map(|one| one * 7 % 300).collect()),
        ];
        assert!(check_parts(launch.as_ref(), &operands, 4096, 256) > 3);
    }
}
