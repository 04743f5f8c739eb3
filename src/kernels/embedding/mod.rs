//! Rows of a table by index: `out [tokens, width]`, row t being row `indices[t]` of `table [vocabulary,
//! width]`. An index past the table gives a row of zeros and reads nothing.

mod cases;

use std::sync::Arc;

use crate::record::{
    Bound, Cost, HostOperands, HostResults, Iterations, Launch, Output, Part, Slot, params,
};
use crate::shader::{Capabilities, Variant};

use super::fast::{Stored, fill_stored};
use super::rows::{check_pairs, parts, read, write};
use super::running::{Computed, Running, bounds, outputs};
use super::shape::{ShapeError, check_extents, check_index};
use super::{FloatType, Kernel, Workload, WorkloadError};

pub(super) use cases::indices;

const NAME: &str = "embedding";
const TABLE: u32 = 1;
const INDICES: u32 = 2;
const OUT: u32 = 8;

params! {
    struct Params {
        tokens: u32,
        width: u32,
        vocabulary: u32,
        pairs: u32,
    }
}

/// Shape and types. Operands by binding: table 1, indices u32 `[tokens]` 2, result 8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Embedding {
    /// Rows of the result.
    pub tokens: u32,
    /// Elements of a row.
    pub width: u32,
    /// Rows of the table.
    pub vocabulary: u32,
    /// Storage of the table.
    pub table: FloatType,
    /// Storage of the result.
    pub out: FloatType,
}

impl Embedding {
    /// Checks the shape and makes a launch of it.
    ///
    /// # Errors
    /// [`ShapeError`] for empty extents, more elements than 32 bits index, and 16-bit results of odd width.
    pub fn launch(self) -> Result<Arc<dyn Launch>, ShapeError> {
        let [tokens, width, vocabulary] = [self.tokens, self.width, self.vocabulary].map(u64::from);
        let extents = [
            ("tokens", tokens),
            ("width", width),
            ("vocabulary", vocabulary),
        ];
        check_extents(NAME, &extents)?;
        // A pair past the end of an odd row counts as an element.
        check_index(NAME, "tokens * width", tokens * (width + 1))?;
        check_index(NAME, "vocabulary * width", vocabulary * width)?;
        check_pairs(NAME, self.out, ("width", self.width))?;
        Ok(Arc::new(self))
    }

    fn computed(&self, operands: &HostOperands<'_>) -> Vec<Computed> {
        let (width, vocabulary) = (self.width as usize, self.vocabulary as usize);
        let table = self.table.unpack(operands.words(TABLE), vocabulary * width);
        let mut results = Vec::with_capacity(self.tokens as usize * width);
        for &index in &operands.words(INDICES)[..self.tokens as usize] {
            let start = index as usize * width;
            match table.get(start..start + width) {
                Some(row) => results.extend(row.iter().copied().map(Running::loaded)),
                None => results.extend(vec![Running::exact(0.0); width]),
            }
        }
        vec![(OUT, self.out, results)]
    }
}

impl Launch for Embedding {
    fn kernel(&self) -> &'static str {
        NAME
    }

    fn describe(&self) -> String {
        let Self {
            tokens,
            width,
            vocabulary,
            table,
            out,
        } = self;
        format!("tokens={tokens} width={width} vocabulary={vocabulary} table-{table} out-{out}")
    }

    fn slots(&self) -> Vec<Slot> {
        let [tokens, width, vocabulary] = [self.tokens, self.width, self.vocabulary].map(u64::from);
        vec![
            read(TABLE, "x", vocabulary * width * self.table.bytes()),
            read(INDICES, "indices", 4 * tokens),
            write(OUT, "out", tokens * width * self.out.bytes()),
        ]
    }

    fn params(&self) -> Vec<u8> {
        bytemuck::bytes_of(&Params {
            tokens: self.tokens,
            width: self.width,
            vocabulary: self.vocabulary,
            pairs: self.width.div_ceil(2),
        })
        .to_vec()
    }

    fn param_fields(&self) -> &'static [(&'static str, usize)] {
        Params::FIELDS
    }

    fn variants(&self, _: &Capabilities) -> Vec<Variant> {
        let variant = Variant::new(NAME).slot("element", self.table.name());
        vec![
            variant
                .slot("store", self.out.name())
                .number("WORKGROUP_SIZE", 64),
        ]
    }

    fn workgroups(&self, variant: &Variant) -> u64 {
        let pairs = u64::from(self.tokens) * u64::from(self.width.div_ceil(2));
        pairs.div_ceil(variant.get("WORKGROUP_SIZE").into())
    }

    fn iterations(&self, _: &Variant) -> Iterations {
        // No loop depends on the shape.
        Iterations::default()
    }

    fn reference(&self, operands: &HostOperands<'_>) -> Vec<Output> {
        outputs(self.computed(operands))
    }

    fn fast(&self, operands: &HostOperands<'_>, results: &mut HostResults<'_>) -> bool {
        let table = Stored::new(self.table, operands.words(TABLE));
        let (tokens, width) = (self.tokens as usize, self.width as usize);
        let rows = &operands.words(INDICES)[..tokens];
        fill_stored(results, OUT, (self.out, tokens * width), |values| {
            for (&row, values) in rows.iter().zip(values.chunks_exact_mut(width)) {
                if row < self.vocabulary {
                    let mut room = vec![0.0; width];
                    values.copy_from_slice(table.read(row as usize * width, &mut room));
                } else {
                    values.fill(0.0);
                }
            }
        });
        true
    }

    fn bound(&self, operands: &HostOperands<'_>) -> Vec<Bound> {
        bounds(self.computed(operands))
    }

    fn cost(&self) -> Cost {
        let elements = f64::from(self.tokens) * f64::from(self.width);
        Cost {
            operations: 0.0,
            bytes: elements * (self.table.bytes() + self.out.bytes()) as f64
                + 4.0 * f64::from(self.tokens),
        }
    }

    fn example(&self, seed: u64) -> Vec<(u32, Vec<u32>)> {
        with_indices(&self.slots(), (INDICES, self.vocabulary), seed)
    }

    fn split(&self, max_bytes: u64, alignment: u64) -> Option<Vec<Part>> {
        let limits = (max_bytes, alignment);
        parts(self.tokens, &self.slots(), &[TABLE], limits, |run| {
            let tokens = run.end - run.start;
            Arc::new(Self { tokens, ..*self })
        })
    }
}

/// The default example with indices below `vocabulary`.
pub(super) fn with_indices(
    slots: &[Slot],
    (indices, vocabulary): (u32, u32),
    seed: u64,
) -> Vec<(u32, Vec<u32>)> {
    let mut operands = crate::record::example_operands(slots, seed);
    let words = operands
        .iter_mut()
        .filter(|(binding, _)| *binding == indices);
    for word in words.flat_map(|(_, words)| words) {
        *word %= vocabulary;
    }
    operands
}

fn workload(asked: &mut Workload<'_>) -> Result<Arc<dyn Launch>, WorkloadError> {
    let [tokens, width, vocabulary] = asked.extents("TOKENSxWIDTHxVOCABULARY")?;
    let table = asked.float().unwrap_or(FloatType::F32);
    let shape = Embedding {
        tokens,
        width,
        vocabulary,
        table,
        out: table,
    };
    Ok(shape.launch()?)
}

/// Registry entry.
pub static KERNEL: Kernel = Kernel {
    name: NAME,
    summary: "rows of a table by index",
    workload,
    cases: cases::cases,
    broken: cases::BROKEN,
    expected_failures: &[],
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_empty_extents_and_odd_16_bit_rows() {
        let shape = Embedding {
            tokens: 3,
            width: 7,
            vocabulary: 5,
            table: FloatType::F32,
            out: FloatType::F32,
        };
        let empty = Embedding {
            vocabulary: 0,
            ..shape
        };
        assert!(matches!(
            empty.launch(),
            Err(ShapeError::Zero {
                name: "vocabulary",
                ..
            })
        ));
        let odd = Embedding {
            out: FloatType::F16,
            ..shape
        };
        assert!(matches!(
            odd.launch(),
            Err(ShapeError::NotMultiple { name: "width", .. })
        ));
    }
}
