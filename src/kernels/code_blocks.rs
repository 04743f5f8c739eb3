//! Results that are stored as int8 codes in blocks of 32 at once, as `quantize_rows` would store them: what kernels
//! have in common whose rows are read by integer products only.
//!
//! Codes of a device follow from its own values, so bounds start from how far these may be off: with `v = y 127 / amax`,
//! `|dv| <= 127 (|dy| + |y| / amax |damax|) / (amax - |damax|)` and the `4 u |v|` of `quantize_rows`. A factor that
//! is common to all values of a block cancels in `v`, but not in the scale.

use std::ops::Range;
use std::sync::Arc;

use crate::record::{Access, Bound, HostResults, Launch, Output, Part, Slot, Values};

use super::bounds::{TINY, U};
use super::quantize_rows::{ANY_CODE, SMALLEST_MAXIMUM, code, largest, quotients};
use super::row_codes::RowCodes;
use super::running::Running;
use super::shape::{ShapeError, check_multiple};
use super::split::{Streams, Tile, cut};

/// Values that share a scale.
pub(super) const BLOCK: u32 = 32;

pub(super) const CODES: u32 = 7;
pub(super) const BLOCKS: u32 = 8;

/// Largest magnitude of a code.
const MOST: f64 = 127.0;

/// Bytes of operands by binding.
type OperandBytes = [(u32, u64)];

/// Rows of codes that a launch stores: all, or those of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CodeBlocks {
    rows: RowCodes,
    /// Rows of the whole tensor; more than those of `rows` in a part.
    all_rows: u32,
    first_row: u32,
}

/// What a shader is told of its codes.
#[derive(Debug, Clone, Copy)]
pub(super) struct BlockParams {
    pub row_blocks: u32,
    pub scales_start: u32,
    pub sums_start: u32,
    pub segments: u32,
}

impl CodeBlocks {
    /// Codes `[m, k]` with sums of every `segment` codes.
    ///
    /// # Errors
    /// [`ShapeError`] for empty extents, a `k` of broken blocks, segments other than 8, 16 and 32, and more codes than
    /// 32 bits index.
    pub fn new(kernel: &'static str, [m, k, segment]: [u32; 3]) -> Result<Self, ShapeError> {
        let block = ("elements of a block,", BLOCK.into());
        let rows = RowCodes { m, k, segment }.check(kernel)?;
        check_multiple(kernel, ("k", k.into()), block)?;
        check_multiple(kernel, block, ("segment", segment.into()))?;
        if !segment.is_multiple_of(8) {
            return Err(ShapeError::NotMultiple {
                kernel,
                name: "segment",
                value: segment.into(),
                of: "codes of two words,",
                multiple: 8,
            });
        }
        Ok(Self {
            rows,
            all_rows: m,
            first_row: 0,
        })
    }

    /// Those of some of the rows.
    fn part(self, rows: &Range<u32>) -> Self {
        Self {
            rows: RowCodes {
                m: rows.end - rows.start,
                ..self.rows
            },
            first_row: self.first_row + rows.start,
            ..self
        }
    }

    /// A launch cut into parts by runs of `unit` rows each: `reads` have so many bytes a run, `whole` are bound whole, as
    /// are scales and sums, which lie in one buffer. `make` gives the launch of so many runs.
    pub fn parts(
        self,
        unit: u32,
        (reads, whole): (&OperandBytes, &OperandBytes),
        (limit, alignment): (u64, u64),
        make: impl Fn(u32, Self) -> Arc<dyn Launch>,
    ) -> Option<Vec<Part>> {
        let runs = self.rows.m / unit;
        let [codes, blocks] = self.slots();
        let codes = (codes.binding, codes.bytes / u64::from(runs));
        let streams = Streams {
            by_row: [reads, &[codes]].concat(),
            by_column: Vec::new(),
            whole: [whole, &[(blocks.binding, blocks.bytes)]].concat(),
        };
        let part = |tile: Tile| {
            let rows = tile.rows.start * unit..tile.rows.end * unit;
            Part {
                launch: make(tile.rows.end - tile.rows.start, self.part(&rows)),
                ranges: tile.ranges,
            }
        };
        let tiles = cut(runs, 1, &streams, limit, alignment)?;
        Some(tiles.into_iter().map(part).collect())
    }

    pub const fn row_blocks(self) -> u32 {
        self.rows.k / BLOCK
    }

    pub fn describe(self) -> String {
        format!("sums={}", self.rows.segment)
    }

    pub const fn params(self) -> BlockParams {
        let segments = self.rows.segments();
        BlockParams {
            row_blocks: self.row_blocks(),
            scales_start: self.first_row * segments,
            sums_start: (self.all_rows + self.first_row) * segments,
            segments: BLOCK / self.rows.segment,
        }
    }

    pub fn slots(self) -> [Slot; 2] {
        let all = RowCodes {
            m: self.all_rows,
            ..self.rows
        };
        let slot = |binding, name, bytes| Slot {
            binding,
            name,
            access: Access::Write,
            bytes,
        };
        [
            slot(CODES, "codes", self.rows.code_bytes()),
            slot(BLOCKS, "blocks", all.block_bytes()),
        ]
    }

    /// The definition, from the values `[m, k]`.
    pub fn outputs(self, values: &[f64]) -> Vec<Output> {
        let (mut codes, mut scales, mut sums) = (Vec::new(), Vec::new(), Vec::new());
        for block in values.chunks_exact(BLOCK as usize) {
            let (scale, quotients) = quotients(block);
            let made: Vec<i8> = quotients.into_iter().map(code).collect();
            for segment in made.chunks_exact(self.rows.segment as usize) {
                scales.push(scale);
                sums.push(segment.iter().map(|&code| i32::from(code)).sum());
            }
            codes.extend(made);
        }
        vec![
            Output::new(CODES, Values::I8(codes)),
            Output {
                binding: BLOCKS,
                first_word: self.params().scales_start as usize,
                values: Values::F32(scales),
            },
            Output {
                binding: BLOCKS,
                first_word: self.params().sums_start as usize,
                values: Values::I32(sums),
            },
        ]
    }

    /// How far a device may be off whose values are as far off as `values` say, and all of a block by a relative
    /// error of `common` more, by the block.
    pub fn bounds(self, values: &[Running], common: impl Fn(usize) -> f64) -> Vec<Bound> {
        let (mut steps, mut scales, mut sums) = (Vec::new(), Vec::new(), Vec::new());
        for (index, block) in values.chunks_exact(BLOCK as usize).enumerate() {
            let allowed = BlockBound::new(block, common(index));
            for segment in allowed.steps.chunks_exact(self.rows.segment as usize) {
                scales.push(allowed.scale);
                sums.push(segment.iter().sum());
            }
            steps.extend(allowed.steps);
        }
        vec![
            Bound::Steps(steps),
            Bound::Absolute(scales),
            Bound::Steps(sums),
        ]
    }

    /// Puts the codes of f32 values `[m, k]` into the results of a host's cores.
    pub fn fill(self, results: &mut HostResults<'_>, values: &[f32]) {
        let (segment, segments) = (self.rows.segment as usize, self.rows.segments() as usize);
        let n_scales = self.rows.m as usize * segments;
        let (mut scales, mut sums) = (Vec::with_capacity(n_scales), Vec::with_capacity(n_scales));
        let codes: &mut [i8] = bytemuck::cast_slice_mut(results.words(CODES));
        let blocks = values.chunks_exact(BLOCK as usize);
        for (values, codes) in blocks.zip(codes.chunks_exact_mut(BLOCK as usize)) {
            // NaN stays, as in the definition.
            let amax = largest(values.iter().map(|&value| f64::from(value)));
            let is_zero = amax < SMALLEST_MAXIMUM;
            let inverse = if is_zero {
                0.0
            } else {
                MOST as f32 / amax as f32
            };
            let scale = if is_zero {
                0.0
            } else {
                amax as f32 / MOST as f32
            };
            for (code, value) in codes.iter_mut().zip(values) {
                *code = (value * inverse).round_ties_even().clamp(-127.0, 127.0) as i8;
            }
            for codes in codes.chunks_exact(segment) {
                scales.push(scale.to_bits());
                sums.push(codes.iter().map(|&code| i32::from(code)).sum::<i32>() as u32);
            }
        }
        let blocks = results.words(BLOCKS);
        for (start, words) in [
            (self.params().scales_start, &scales),
            (self.params().sums_start, &sums),
        ] {
            blocks[start as usize..][..n_scales].copy_from_slice(words);
        }
    }
}

/// What one block may be off by.
struct BlockBound {
    /// By the code.
    steps: Vec<u32>,
    scale: f64,
}

impl BlockBound {
    fn new(block: &[Running], common: f64) -> Self {
        let amax = largest(block.iter().map(|one| one.value));
        // The largest of what may be, and of what is at least.
        let most = largest(block.iter().map(|one| one.value.abs() + one.error));
        let least = largest(
            block
                .iter()
                .map(|one| (one.value.abs() - one.error).max(0.0)),
        );
        let error = (most - amax).max(amax - least);
        let whole = error + common * (amax + error);
        let any = |scale| Self {
            steps: vec![ANY_CODE; block.len()],
            scale,
        };
        // Written so that NaN is neither.
        if amax + whole < SMALLEST_MAXIMUM {
            return Self {
                steps: vec![0; block.len()],
                scale: 0.0,
            };
        }
        let scale = (whole + 4.0 * U * (amax + whole)) / MOST + TINY;
        if !(amax - whole >= SMALLEST_MAXIMUM && error < amax) {
            return any(scale + amax / MOST);
        }
        let steps = block.iter().map(|one| {
            let exact = one.value * MOST / amax;
            let moved = MOST * (one.error + one.value.abs() / amax * error) / (amax - error);
            let moved = moved + 4.0 * U * (exact.abs() + moved);
            let at = |quotient: f64| i32::from(code(quotient));
            let (low, high) = (at(exact - moved), at(exact + moved));
            (high - at(exact)).max(at(exact) - low) as u32
        });
        Self {
            steps: steps.collect(),
            scale,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::num::quantize_rows_reference;

    use super::*;

    const NAME: &str = "test";

    #[test]
    fn the_definition_is_that_of_the_format() {
        let x: Vec<f32> = (0..192)
            .map(|at| ((at * 37 % 101) as f32 - 50.0) / 7.0)
            .collect();
        for segment in [8, 16, 32] {
            let blocks = CodeBlocks::new(NAME, [3, 64, segment]).expect("whole blocks");
            let values: Vec<f64> = x.iter().map(|&value| value.into()).collect();
            let outputs = blocks.outputs(&values);
            let rows = quantize_rows_reference(&x, 3, 64, 32, segment as usize).expect("finite");
            let mut codes = vec![0; rows.codes.len()];
            outputs[0].store(&mut codes);
            assert_eq!(codes, rows.codes);
            assert_eq!(outputs[2].values, Values::I32(rows.sums));
        }
    }

    #[test]
    fn a_code_may_differ_only_where_its_value_may_pass_a_half() {
        let mut block = vec![Running::exact(0.0); 32];
        block[0] = Running::exact(127.0);
        block[1] = Running::within(10.4, 0.05);
        block[2] = Running::within(10.4, 0.11);
        block[3] = Running::within(-10.4, 1.2);
        let bound = BlockBound::new(&block, 1e-3);
        assert_eq!(bound.steps[..4], [0, 0, 1, 2]);
        // The common factor moves the scale and no code.
        assert!(bound.scale > 1e-3);
    }

    #[test]
    fn a_block_with_nan_has_its_scale_and_any_code() {
        let blocks = CodeBlocks::new(NAME, [1, 32, 32]).expect("a whole block");
        let mut values = vec![1.0; 32];
        values[5] = f64::NAN;
        values[6] = 3.0;
        let Values::F32(scales) = &blocks.outputs(&values)[1].values else {
            panic!("scales are floats");
        };
        assert!(scales[0].is_nan());
        let running: Vec<Running> = values.iter().map(|&value| Running::exact(value)).collect();
        assert_eq!(BlockBound::new(&running, 0.0).steps[0], 254);
    }

    #[test]
    fn rejects_broken_blocks_and_segments() {
        for shape in [[1, 48, 16], [1, 32, 4], [1, 64, 64], [0, 32, 32]] {
            assert!(CodeBlocks::new(NAME, shape).is_err(), "{shape:?}");
        }
    }
}
