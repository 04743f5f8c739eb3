//! Int8 quantization of activations. Dynamic, per block of a row: with `amax` the block's largest
//! magnitude, `scale = amax / 127` and `q = clamp(round_half_even(x * (127 / amax)), -127, 127)`, and
//! the sums of the codes that zero points of a product need: `sum (q_w - z) q_x = sum q_w q_x - z sum q_x`.
//!
//! A block with `amax < 2^-100` has scale 0 and codes 0: its reciprocal would leave f32. Magnitudes
//! above 2^126 are outside what WGSL divides to any accuracy.
//!
//! Bounds: the quotient is within 2.5 units in the last place and the product within one more, so a
//! code may differ by one where the exact `v = x * 127 / amax` lies within `4 u |v|` of a half, and
//! nowhere else. Scales are within `4 u`; sums follow their codes and are otherwise exact. A block with NaN has a
//! scale that is NaN and any codes.
//!
//! Static: one scale for the whole tensor that was found beforehand is given, with its reciprocal `r` rounded to
//! f32, and nothing is searched: `q = clamp(round_half_even(x * r), -127, 127)`. One product is rounded, so a code
//! may differ by one only where the exact `v = x * r` is no half and lies within `u |v|` of one; scales are equal.

pub(super) mod cases;

use std::sync::Arc;

use crate::record::{
    Access, Bound, Cost, HostOperands, Iterations, Launch, Output, Part, Slot, Values, params,
};
use crate::shader::{Capabilities, Edit, Variant};

use super::bounds::U;
use super::iterations::looped;
use super::row_codes::RowCodes;
use super::shape::{ShapeError, check_extents, check_multiple};
use super::split::{Streams, cut};
use super::weight::STEP;
use super::{FloatType, Kernel, Workload, WorkloadError};

const NAME: &str = "quantize_rows";
pub(super) const X: u32 = 1;
pub(super) const CODES: u32 = 2;
const BLOCKS: u32 = 3;
/// A scale found beforehand, and its reciprocal.
pub(super) const CODE_SCALE: u32 = 4;

/// 2^-100: a block whose largest magnitude is smaller counts as zero.
pub(super) const SMALLEST_MAXIMUM: f64 = 1.0 / (1u128 << 100) as f64;

/// From the least code to the largest.
pub(super) const ANY_CODE: u32 = 254;

/// Entry in which a subgroup reads a block once, and the elements of a lane's chunk.
const SUBGROUP_ENTRY: &str = "quantize_rows/subgroup";
const CHUNK: u32 = 16;

/// Blocks from which on a software adapter's workgroups take several.
const MANY_BLOCKS: u32 = 32;

/// Chunks that a lane keeps at most.
const MAX_ROUNDS: u32 = 16;

/// Codes whose sum always fits i32: (2^31 - 1) / 127.
const MAX_SUM_BLOCK: u64 = 16_909_320;

params! {
    struct Params {
        m: u32,
        k: u32,
        row_words: u32,
        row_blocks: u32,
        block_steps: u32,
        block_segments: u32,
        segment_steps: u32,
        scales_start: u32,
        sums_start: u32,
    }
}

/// Shape of one quantization. Outputs: codes at binding 2, scales then sums at binding 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuantizeRows {
    /// Rows.
    pub m: u32,
    /// Columns.
    pub k: u32,
    /// Storage of the activations: f32 or f16.
    pub x: FloatType,
    /// Elements that share a scale: divides k.
    pub block: u32,
    /// Elements that share a sum: divides `block`, a multiple of 8 unless it is the whole row.
    pub sum_block: u32,
    /// Where scales come from.
    pub scale: BlockScale,
}

/// Where the scale of a block comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BlockScale {
    /// Its largest magnitude.
    #[default]
    Largest,
    /// An operand, f32 `[2]` at binding 4: one scale for all blocks, and its reciprocal.
    Given,
}

#[derive(Debug, Clone, Copy)]
struct QuantizeLaunch {
    shape: QuantizeRows,
    /// Rows of the whole tensor; more than `shape.m` in a part.
    rows: u32,
    /// First row of the whole tensor that this part quantizes.
    first_row: u32,
}

impl QuantizeRows {
    /// Checks the shape and makes a launch of it.
    ///
    /// # Errors
    /// [`ShapeError`] for empty extents, blocks that do not tile, bf16 activations.
    pub fn launch(self) -> Result<Arc<dyn Launch>, ShapeError> {
        let Self {
            m,
            k,
            x,
            block,
            sum_block,
            scale: _,
        } = self;
        check_extents(
            NAME,
            &[
                ("k", k.into()),
                ("block", block.into()),
                ("sum_block", sum_block.into()),
            ],
        )?;
        check_multiple(NAME, ("k", k.into()), ("block", block.into()))?;
        check_multiple(
            NAME,
            ("block", block.into()),
            ("sum_block", sum_block.into()),
        )?;
        self.codes().check(NAME)?;
        if u64::from(sum_block) > MAX_SUM_BLOCK {
            return Err(ShapeError::TooLarge {
                kernel: NAME,
                name: "sum_block",
                value: sum_block.into(),
                limit: MAX_SUM_BLOCK,
                reason: "sums of codes in i32",
            });
        }
        if x == FloatType::Bf16 {
            let (value, allowed) = (x.to_string(), "f32, f16");
            return Err(ShapeError::Unsupported {
                kernel: NAME,
                name: "activation storage",
                value,
                allowed,
            });
        }
        Ok(Arc::new(QuantizeLaunch {
            shape: self,
            rows: m,
            first_row: 0,
        }))
    }

    const fn codes(&self) -> RowCodes {
        RowCodes {
            m: self.m,
            k: self.k,
            segment: self.sum_block,
        }
    }
}

/// One block's exact quotients before rounding, and its scale.
struct Block {
    scale: f64,
    quotients: Vec<f64>,
}

/// The scale of values that share one, and their exact quotients: zeros where the largest magnitude counts as zero.
/// NaN makes all of them NaN.
pub(super) fn quotients<T: Copy + Into<f64>>(values: &[T]) -> (f64, Vec<f64>) {
    let amax = largest(values.iter().map(|&value| value.into()));
    if amax < SMALLEST_MAXIMUM {
        return (0.0, vec![0.0; values.len()]);
    }
    let quotient = |&value: &T| value.into() * 127.0 / amax;
    (amax / 127.0, values.iter().map(quotient).collect())
}

/// The largest magnitude, or NaN where there is one.
pub(super) fn largest(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(0.0, |amax: f64, value| {
        let is_larger = value.is_nan() || value.abs() > amax;
        if is_larger { value.abs() } else { amax }
    })
}

pub(super) fn code(quotient: f64) -> i8 {
    quotient.round_ties_even().clamp(-127.0, 127.0) as i8
}

/// Whether either neighbour may be the device's code of one rounded product; a half is a number of f32 itself, so
/// that a product that is one is exact.
fn is_ambiguous_product(product: f64) -> bool {
    let size = product.abs();
    let distance = (size.fract() - 0.5).abs();
    distance > 0.0 && distance <= U * size
}

/// By how much the device's code may differ: of what is no number it may be any.
pub(super) fn steps_of(quotient: f64) -> u32 {
    if quotient.is_nan() {
        return ANY_CODE;
    }
    u32::from(is_ambiguous(quotient))
}

/// Whether either neighbour may be the device's code.
fn is_ambiguous(quotient: f64) -> bool {
    let size = quotient.abs();
    (size.fract() - 0.5).abs() <= 4.0 * U * size
}

impl QuantizeLaunch {
    /// Blocks in row order.
    fn quotients(&self, operands: &HostOperands<'_>) -> Vec<Block> {
        let QuantizeRows {
            m,
            k,
            x,
            block,
            scale,
            ..
        } = self.shape;
        let values = x.unpack(operands.words(X), m as usize * k as usize);
        let of_block = |values: &[f32]| match scale {
            BlockScale::Largest => {
                let (scale, quotients) = quotients(values);
                Block { scale, quotients }
            }
            BlockScale::Given => {
                let given = operands.f32(CODE_SCALE);
                let scaled = |&value: &f32| f64::from(value) * f64::from(given[1]);
                Block {
                    scale: given[0].into(),
                    quotients: values.iter().map(scaled).collect(),
                }
            }
        };
        values.chunks_exact(block as usize).map(of_block).collect()
    }

    fn steps(&self, quotient: f64) -> u32 {
        match self.shape.scale {
            BlockScale::Given if !quotient.is_nan() => u32::from(is_ambiguous_product(quotient)),
            BlockScale::Largest | BlockScale::Given => steps_of(quotient),
        }
    }

    /// Module that a slot of scales is filled with.
    const fn scale_module(&self) -> &'static str {
        match self.shape.scale {
            BlockScale::Largest => "largest",
            BlockScale::Given => "given",
        }
    }

    /// One value per code, padding included, from a function of the exact quotient.
    fn per_code<T: Copy + Default>(&self, blocks: &[Block], of: impl Fn(f64) -> T) -> Vec<T> {
        let (k, padded) = (
            self.shape.k as usize,
            4 * self.shape.codes().row_words() as usize,
        );
        let mut values = vec![T::default(); self.shape.m as usize * padded];
        let quotients = blocks.iter().flat_map(|block| &block.quotients);
        for (index, &quotient) in quotients.enumerate() {
            values[index / k * padded + index % k] = of(quotient);
        }
        values
    }

    /// One value per segment, from a function of its exact quotients.
    fn per_segment<T>(&self, blocks: &[Block], of: impl Fn(&[f64]) -> T) -> Vec<T> {
        let segments = blocks
            .iter()
            .flat_map(|block| block.quotients.chunks(self.shape.sum_block as usize));
        segments.map(of).collect()
    }

    fn scales(&self, blocks: &[Block]) -> Vec<f64> {
        let repeats = (self.shape.block / self.shape.sum_block) as usize;
        blocks
            .iter()
            .flat_map(|block| std::iter::repeat_n(block.scale, repeats))
            .collect()
    }
}

impl QuantizeLaunch {
    /// A subgroup that reads a block once, where it has a chunk for each lane and a lane can keep its own.
    fn once(&self, x: &'static str, capabilities: &Capabilities) -> Option<Variant> {
        let QuantizeRows {
            block, sum_block, ..
        } = self.shape;
        let size = capabilities.subgroup_size()?;
        let chunks = block / CHUNK;
        let rounds = chunks.div_ceil(size);
        let fits = block.is_multiple_of(CHUNK)
            && block == sum_block
            && chunks >= size
            && rounds <= MAX_ROUNDS;
        // On a CPU a workgroup has a cost of its own.
        let blocks = self.shape.m * (self.shape.k / block);
        let together = if capabilities.software && blocks >= MANY_BLOCKS {
            8
        } else {
            1
        };
        fits.then(|| {
            Variant::new(SUBGROUP_ENTRY)
                .slot("x", x)
                .slot("chunk_scale", self.scale_module())
                .number("BLOCKS", together)
                .number("ROUNDS", rounds)
                .number("SUBGROUP", size)
        })
    }
}

impl Launch for QuantizeLaunch {
    fn kernel(&self) -> &'static str {
        NAME
    }

    fn describe(&self) -> String {
        let QuantizeRows {
            m,
            k,
            x,
            block,
            sum_block,
            scale,
        } = self.shape;
        let given = match scale {
            BlockScale::Largest => "",
            BlockScale::Given => " static",
        };
        format!("m={m} k={k} x-{x} block={block} sums={sum_block}{given}")
    }

    fn slots(&self) -> Vec<Slot> {
        let QuantizeRows { m, k, x, .. } = self.shape;
        let (codes, all) = (
            self.shape.codes(),
            RowCodes {
                m: self.rows,
                ..self.shape.codes()
            },
        );
        let slot = |binding, name, access, bytes| Slot {
            binding,
            name,
            access,
            bytes,
        };
        let mut slots = vec![
            slot(
                X,
                "x",
                Access::Read,
                u64::from(m) * u64::from(k) * x.bytes(),
            ),
            slot(CODES, "codes", Access::Write, codes.code_bytes()),
            slot(BLOCKS, "blocks", Access::Write, all.block_bytes()),
        ];
        if self.shape.scale == BlockScale::Given {
            slots.push(slot(CODE_SCALE, "code_scale", Access::Read, 8));
        }
        slots
    }

    fn params(&self) -> Vec<u8> {
        let QuantizeRows {
            m,
            k,
            block,
            sum_block,
            ..
        } = self.shape;
        let codes = self.shape.codes();
        let params = Params {
            m,
            k,
            row_words: codes.row_words(),
            row_blocks: k / block,
            block_steps: block.div_ceil(STEP),
            block_segments: block / sum_block,
            segment_steps: sum_block.div_ceil(STEP),
            scales_start: self.first_row * codes.segments(),
            sums_start: (self.rows + self.first_row) * codes.segments(),
        };
        bytemuck::bytes_of(&params).to_vec()
    }

    fn param_fields(&self) -> &'static [(&'static str, usize)] {
        Params::FIELDS
    }

    fn variants(&self, capabilities: &Capabilities) -> Vec<Variant> {
        // f16 always by integer bits: the built-in decoding may flush subnormals, and a block of them
        // has codes like any other.
        let x = match (self.shape.x, self.shape.k.is_multiple_of(STEP)) {
            (FloatType::F32, true) => "f32_vec4",
            (FloatType::F32, false) => "f32",
            (FloatType::F16 | FloatType::Bf16, _) => "f16",
        };
        let variant = |reduce, lanes, workgroup| {
            Variant::new(NAME)
                .slot("x", x)
                .slot("reduce", reduce)
                .slot("block_scale", self.scale_module())
                .number("LANES", lanes)
                .number("WORKGROUP_SIZE", workgroup)
        };
        let mut variants = vec![
            variant("none", 1, 8),
            variant("none", 1, 64),
            variant("shared", 64, 64),
        ];
        if capabilities.subgroups {
            variants.push(variant("subgroup", 32, 32));
        }
        let once = self.once(x, capabilities);
        if capabilities.software {
            // A few rows, each by all lanes of one of the CPU's vectors.
            let blocks = u64::from(self.shape.m) * u64::from(self.shape.k / self.shape.block);
            let size = capabilities.subgroup_size();
            let few = size.filter(|&size| blocks < size.into());
            let few = few.map(|size| variant("subgroup", size, size));
            return once.into_iter().chain(few).chain(variants).collect();
        }
        // On hardware a short block is one lane's work, a long one a workgroup's.
        variants.rotate_left(if self.shape.block <= 128 { 1 } else { 2 });
        variants.extend(once);
        variants
    }

    fn workgroups(&self, variant: &Variant) -> u64 {
        let blocks = u64::from(self.shape.m) * u64::from(self.shape.k / self.shape.block);
        if variant.has("ROUNDS") {
            return blocks.div_ceil(variant.get("BLOCKS").into());
        }
        blocks.div_ceil(u64::from(
            variant.get("WORKGROUP_SIZE") / variant.get("LANES"),
        ))
    }

    fn iterations(&self, variant: &Variant) -> Iterations {
        let QuantizeRows {
            block, sum_block, ..
        } = self.shape;
        if variant.has("ROUNDS") {
            let number = |name| u64::from(variant.get(name));
            let (blocks, rounds) = (number("BLOCKS"), number("ROUNDS"));
            return Iterations {
                unrolled: looped(blocks, 0),
                rolled: looped(blocks, looped(rounds, 0) + looped(rounds, looped(4, 0))),
            };
        }
        let lanes = variant.get("LANES");
        let (steps, segments) = (block.div_ceil(STEP), u64::from(block / sum_block.max(1)));
        let segment_steps = sum_block.div_ceil(STEP);
        let reduction = looped(variant.get("WORKGROUP_SIZE").into(), 0);
        let largest = looped(steps.div_ceil(lanes).into(), 0) + reduction;
        let codes = if segments >= u64::from(lanes) {
            looped(
                segments.div_ceil(lanes.into()),
                looped(segment_steps.into(), 0),
            )
        } else {
            looped(
                segments,
                looped(segment_steps.div_ceil(lanes).into(), 0) + reduction,
            )
        };
        // Scales, then at most 16 words of padding.
        let count = largest + codes + looped(segments, 0) + looped(16, 0);
        Iterations {
            unrolled: count,
            rolled: count,
        }
    }

    fn reference(&self, operands: &HostOperands<'_>) -> Vec<Output> {
        let blocks = self.quotients(operands);
        let sum = |quotients: &[f64]| {
            quotients
                .iter()
                .map(|&quotient| i32::from(code(quotient)))
                .sum()
        };
        vec![
            Output::new(CODES, Values::I8(self.per_code(&blocks, code))),
            Output::new(BLOCKS, Values::F32(self.scales(&blocks))),
            Output {
                binding: BLOCKS,
                first_word: self.shape.codes().sum_at(0, 0),
                values: Values::I32(self.per_segment(&blocks, sum)),
            },
        ]
    }

    fn bound(&self, operands: &HostOperands<'_>) -> Vec<Bound> {
        let blocks = self.quotients(operands);
        let of_sum = |quotients: &[f64]| quotients.iter().map(|&one| self.steps(one)).sum();
        let scales = match self.shape.scale {
            BlockScale::Largest => Bound::Absolute(
                self.scales(&blocks)
                    .into_iter()
                    .map(|scale| 4.0 * U * scale)
                    .collect(),
            ),
            BlockScale::Given => Bound::Exact,
        };
        vec![
            Bound::Steps(self.per_code(&blocks, |quotient| self.steps(quotient))),
            scales,
            Bound::Steps(self.per_segment(&blocks, of_sum)),
        ]
    }

    fn cost(&self) -> Cost {
        let elements = f64::from(self.shape.m) * f64::from(self.shape.k);
        // Magnitude and maximum, then product, rounding, clamp and sum.
        Cost {
            operations: 6.0 * elements,
            bytes: self.slots().iter().map(|slot| slot.bytes as f64).sum(),
        }
    }

    fn split(&self, limit: u64, alignment: u64) -> Option<Vec<Part>> {
        let QuantizeRows { m, k, x, .. } = self.shape;
        let streams = Streams {
            by_row: vec![
                (X, u64::from(k) * x.bytes()),
                (CODES, 4 * u64::from(self.shape.codes().row_words())),
            ],
            by_column: Vec::new(),
            // Scales and sums of all rows lie in one buffer, so that cannot be cut by rows.
            whole: vec![(
                BLOCKS,
                RowCodes {
                    m: self.rows,
                    ..self.shape.codes()
                }
                .block_bytes(),
            )]
            .into_iter()
            .chain((self.shape.scale == BlockScale::Given).then_some((CODE_SCALE, 8)))
            .collect(),
        };
        let tiles = cut(m, 1, &streams, limit, alignment)?;
        let part = |tile: super::split::Tile| {
            let shape = QuantizeRows {
                m: tile.rows.end - tile.rows.start,
                ..self.shape
            };
            let first_row = self.first_row + tile.rows.start;
            Part {
                launch: Arc::new(Self {
                    shape,
                    first_row,
                    ..*self
                }),
                ranges: tile.ranges,
            }
        };
        Some(tiles.into_iter().map(part).collect())
    }
}

fn workload(asked: &mut Workload<'_>) -> Result<Arc<dyn Launch>, WorkloadError> {
    let [m, k] = asked.extents("MxK")?;
    let block = asked.take("b32 and the like", |word| {
        word.strip_prefix('b')?.parse().ok()
    });
    let block = block.unwrap_or(k);
    let shape = QuantizeRows {
        m,
        k,
        x: asked.float().unwrap_or(FloatType::F32),
        block,
        sum_block: block,
        scale: match asked.take("static", |word| (word == "static").then_some(())) {
            Some(()) => BlockScale::Given,
            None => BlockScale::Largest,
        },
    };
    Ok(shape.launch()?)
}

/// Registry entry.
pub static KERNEL: Kernel = Kernel {
    name: NAME,
    summary: "x [m, k] to int8 codes with a scale per block and code sums",
    workload,
    cases: cases::cases,
    broken: BROKEN,
    expected_failures: &[],
};

const BROKEN: &[Edit] = &[
    Edit {
        name: "truncated_instead_of_rounded",
        module: "quantize_rows/code",
        find: "round(values * inverse_scale)",
        replace: "trunc(values * inverse_scale)",
    },
    Edit {
        name: "largest_value_instead_of_magnitude",
        module: "block_scale/largest",
        find: "max(magnitude_bits(values.low), magnitude_bits(values.high))",
        replace: "bitcast<vec4<u32>>(max(max(values.low, values.high), vec4<f32>()))",
    },
    Edit {
        name: "subgroup_largest_of_each_lane",
        module: "chunk_scale/largest",
        find: "subgroupMax(largest)",
        replace: "largest",
    },
    Edit {
        name: "subgroup_sum_of_each_lane",
        module: SUBGROUP_ENTRY,
        find: "subgroupAdd(sum)",
        replace: "sum",
    },
    Edit {
        name: "subgroup_last_chunk_left_out",
        module: SUBGROUP_ENTRY,
        find: "if (chunk < chunks) {",
        replace: "if (chunk + 1u < chunks) {",
    },
    Edit {
        name: "subgroup_block_of_the_row_start",
        module: SUBGROUP_ENTRY,
        find: "index % params.row_blocks * chunks",
        replace: "index % params.row_blocks * 0u",
    },
    Edit {
        name: "subgroup_upper_half_of_a_chunk_is_the_lower",
        module: SUBGROUP_ENTRY,
        find: "load_x8(row, column + 8u, params.k)",
        replace: "load_x8(row, column, params.k)",
    },
    Edit {
        name: "last_step_not_searched",
        module: "block_scale/largest",
        find: "step < end;",
        replace: "step + 1u < end;",
    },
    Edit {
        name: "given_scale_in_the_place_of_its_reciprocal",
        module: "block_scale/given",
        find: "code_scale[1]",
        replace: "code_scale[0]",
    },
    Edit {
        name: "subgroup_given_scale_in_the_place_of_its_reciprocal",
        module: "chunk_scale/given",
        find: "code_scale[1]",
        replace: "code_scale[0]",
    },
    Edit {
        name: "codes_that_wrap_instead_of_staying_at_the_largest",
        module: "quantize_rows/code",
        find: "vec4<i32>(clamp(round(values * inverse_scale), vec4<f32>(-127.0), vec4<f32>(127.0)))",
        replace: "vec4<i32>(round(values * inverse_scale))",
    },
    Edit {
        name: "sum_of_a_neighbouring_step",
        module: NAME,
        find: "step < past;",
        replace: "step <= past;",
    },
    Edit {
        name: "scale_of_the_first_segment_only",
        module: NAME,
        find: "segment < params.block_segments; segment += LANES",
        replace: "segment < 1u; segment += LANES",
    },
    Edit {
        name: "padding_left_as_it_was",
        module: NAME,
        find: "codes[at] = 0u;",
        replace: "codes[at] = codes[at];",
    },
    Edit {
        name: "blocks_past_the_last_stored",
        module: NAME,
        find: "let live = index < params.m * params.row_blocks;",
        replace: "let live = true;",
    },
    Edit {
        name: "segments_start_with_the_row",
        module: NAME,
        find: "row * segments + block * params.block_segments",
        replace: "row * segments",
    },
    Edit {
        name: "missing_barrier_in_the_maximum",
        module: "reduce/shared",
        find: "shared_u32[lane] = max(shared_u32[lane], shared_u32[lane + width]);\n        }\n        workgroupBarrier();",
        replace: "shared_u32[lane] = max(shared_u32[lane], shared_u32[lane + width]);\n        }",
    },
];
