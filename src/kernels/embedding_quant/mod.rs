//! Rows of a quantized table by index: `out [tokens, width]`, row t being `scale (q - zero)` of row
//! `indices[t]` of a table `[vocabulary, width]`. An index past the table gives a row of zeros and reads
//! nothing.

mod cases;

use std::sync::Arc;

use crate::num::QuantFormat;
use crate::record::{
    Bound, Cost, HostOperands, HostResults, Iterations, Launch, Output, Part, Slot, params,
};
use crate::shader::{Capabilities, Variant};

use super::embedding::with_indices;
use super::fast::{HostWeight, fill, fill_stored};
use super::rows::{check_pairs, parts, read, write};
use super::running::{Computed, Running, bounds, outputs};
use super::shape::{ShapeError, check_extents, check_index};
use super::weight::{CODES, SCALES, STEP, WeightShape, ZEROS};
use super::{FloatType, Kernel, Workload, WorkloadError};

const NAME: &str = "embedding_quant";
const INDICES: u32 = 1;
const OUT: u32 = 8;

params! {
    struct Params {
        tokens: u32,
        width: u32,
        vocabulary: u32,
        steps: u32,
        row_words: u32,
        group_steps: u32,
        scale_row_stride: u32,
    }
}

/// Shape and formats. Operands by binding: indices u32 `[tokens]` 1, codes 2, scales 3, zero points 4 where
/// the format has them, result 8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EmbeddingQuant {
    /// Rows of the result.
    pub tokens: u32,
    /// Elements of a row.
    pub width: u32,
    /// Rows of the table.
    pub vocabulary: u32,
    /// Format of the table.
    pub table: QuantFormat,
    /// Storage of the result.
    pub out: FloatType,
}

impl EmbeddingQuant {
    /// Checks the shape and makes a launch of it.
    ///
    /// # Errors
    /// [`ShapeError`] for empty extents, groups that do not divide the width, more elements than 32 bits
    /// index, and 16-bit results of odd width.
    pub fn launch(self) -> Result<Arc<dyn Launch>, ShapeError> {
        let [tokens, width] = [self.tokens, self.width].map(u64::from);
        check_extents(NAME, &[("tokens", tokens)])?;
        let weight = self.weight().check(NAME)?;
        // Steps past the end of a row count as elements.
        check_index(
            NAME,
            "tokens * width",
            tokens * width.next_multiple_of(STEP.into()),
        )?;
        let words = u64::from(self.vocabulary) * u64::from(weight.row_words());
        check_index(NAME, "words of the codes", words)?;
        check_pairs(NAME, self.out, ("width", self.width))?;
        Ok(Arc::new(self))
    }

    const fn weight(&self) -> WeightShape {
        WeightShape {
            n: self.vocabulary,
            k: self.width,
            format: self.table,
        }
    }

    const fn steps(&self) -> u32 {
        self.width.div_ceil(STEP)
    }

    fn computed(&self, operands: &HostOperands<'_>) -> Vec<Computed> {
        let (weight, width) = (self.weight(), self.width as usize);
        let mut results = Vec::with_capacity(self.tokens as usize * width);
        for &row in &operands.words(INDICES)[..self.tokens as usize] {
            if row >= self.vocabulary {
                results.extend(vec![Running::exact(0.0); width]);
                continue;
            }
            for column in 0..width {
                let index = weight.scale_index(row as usize, column);
                let code =
                    weight.code(operands, row as usize, column) - weight.zero(operands, index);
                let scale = Running::exact(weight.scale(operands, index));
                let minimum = Running::exact(weight.minimum(operands, index));
                results.push(scale * Running::exact(code.into()) + minimum);
            }
        }
        vec![(OUT, self.out, results)]
    }
}

impl Launch for EmbeddingQuant {
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
        let scale = format!("{:?}", table.scale_type).to_lowercase();
        format!(
            "tokens={tokens} width={width} vocabulary={vocabulary} {table} scale-{scale} out-{out}"
        )
    }

    fn slots(&self) -> Vec<Slot> {
        let tokens = u64::from(self.tokens);
        let mut slots = vec![read(INDICES, "indices", 4 * tokens)];
        slots.extend(self.weight().slots());
        slots.push(write(
            OUT,
            "out",
            tokens * u64::from(self.width) * self.out.bytes(),
        ));
        slots
    }

    fn params(&self) -> Vec<u8> {
        let weight = self.weight();
        bytemuck::bytes_of(&Params {
            tokens: self.tokens,
            width: self.width,
            vocabulary: self.vocabulary,
            steps: self.steps(),
            row_words: weight.row_words(),
            group_steps: weight.group_size().div_ceil(STEP),
            scale_row_stride: weight.scale_row_stride(),
        })
        .to_vec()
    }

    fn param_fields(&self) -> &'static [(&'static str, usize)] {
        Params::FIELDS
    }

    fn variants(&self, _: &Capabilities) -> Vec<Variant> {
        let variant = Variant::new(NAME).slot("store", self.out.name());
        let variant = self.weight().choose(variant, "codes");
        vec![variant.number("WORKGROUP_SIZE", 64)]
    }

    fn workgroups(&self, variant: &Variant) -> u64 {
        let lanes = u64::from(self.tokens) * u64::from(self.steps());
        lanes.div_ceil(variant.get("WORKGROUP_SIZE").into())
    }

    fn iterations(&self, _: &Variant) -> Iterations {
        // No loop depends on the shape.
        Iterations::default()
    }

    fn reference(&self, operands: &HostOperands<'_>) -> Vec<Output> {
        outputs(self.computed(operands))
    }

    fn fast(&self, operands: &HostOperands<'_>, results: &mut HostResults<'_>) -> bool {
        let weight = HostWeight::new(self.weight(), operands);
        let (tokens, width) = (self.tokens as usize, self.width as usize);
        let rows = &operands.words(INDICES)[..tokens];
        fill_stored(results, OUT, (self.out, tokens * width), |values| {
            let room = || weight.scratch();
            fill(
                values,
                (width, 2 * width),
                room,
                |scratch, token, values| match rows[token] {
                    row if row < self.vocabulary => weight.decode(row as usize, scratch, values),
                    _ => values.fill(0.0),
                },
            );
        });
        true
    }

    fn bound(&self, operands: &HostOperands<'_>) -> Vec<Bound> {
        bounds(self.computed(operands))
    }

    fn cost(&self) -> Cost {
        let tokens = f64::from(self.tokens);
        let row = self.weight().bytes() / f64::from(self.vocabulary);
        let out = f64::from(self.width) * self.out.bytes() as f64;
        Cost {
            operations: 2.0 * tokens * f64::from(self.width),
            bytes: tokens * (row + out + 4.0),
        }
    }

    fn example(&self, seed: u64) -> Vec<(u32, Vec<u32>)> {
        with_indices(&self.slots(), (INDICES, self.vocabulary), seed)
    }

    fn split(&self, max_bytes: u64, alignment: u64) -> Option<Vec<Part>> {
        let table = [CODES, SCALES, ZEROS];
        let limits = (max_bytes, alignment);
        parts(self.tokens, &self.slots(), &table, limits, |run| {
            let tokens = run.end - run.start;
            Arc::new(Self { tokens, ..*self })
        })
    }
}

fn workload(asked: &mut Workload<'_>) -> Result<Arc<dyn Launch>, WorkloadError> {
    let [tokens, width, vocabulary] = asked.extents("TOKENSxWIDTHxVOCABULARY")?;
    let shape = EmbeddingQuant {
        tokens,
        width,
        vocabulary,
        out: asked.float().unwrap_or(FloatType::F32),
        table: asked.weight(),
    };
    Ok(shape.launch()?)
}

/// Registry entry.
pub static KERNEL: Kernel = Kernel {
    name: NAME,
    summary: "rows of an int8 or int4 table by index, dequantized",
    workload,
    cases: cases::cases,
    broken: cases::BROKEN,
    expected_failures: &[],
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::Scheme;

    #[test]
    fn rejects_groups_that_do_not_divide_the_width_and_odd_16_bit_rows() {
        let shape = EmbeddingQuant {
            tokens: 3,
            width: 33,
            vocabulary: 5,
            table: Scheme::int8_channel().format(),
            out: FloatType::F32,
        };
        assert!(shape.launch().is_ok());
        let odd = EmbeddingQuant {
            out: FloatType::F16,
            ..shape
        };
        assert!(matches!(
            odd.launch(),
            Err(ShapeError::NotMultiple { name: "width", .. })
        ));
        let groups = EmbeddingQuant {
            table: Scheme::int4_group(32).format(),
            ..shape
        };
        assert!(matches!(
            groups.launch(),
            Err(ShapeError::NotMultiple { name: "k", .. })
        ));
    }
}
