//! Quantized weights as kernels see them: packed words by binding, their sizes, and their decoding.
//!
//! `w[n, k] = scale[n, g] * (q[n, k] - zero[n, g])`, `g = k / group_size`. The words are laid out as
//! [`crate::num`] packs them: rows padded to 16 bytes, scales and zero points flat over `[n, groups]`.
//! Above a minimum it is `scale * (q - lowest) + minimum`, and the minima take the zero points' place.

use half::f16;

use crate::num::{Bits, Granularity, QuantFormat, ScaleType, Zero};
use crate::record::{Access, HostOperands, Slot};
use crate::shader::Variant;

use super::shape::{ShapeError, check_extents, check_index, check_multiple, reduced_extent};

pub(super) const CODES: u32 = 2;
pub(super) const SCALES: u32 = 3;
pub(super) const ZEROS: u32 = 4;

/// Elements of one shader step: one int4 word, two int8 words.
pub(super) const STEP: u32 = 8;

/// Elements of a run: what subgroup entries of whole rows take at a time, and wide steps of integer
/// products.
pub(super) const RUN: u32 = 32;

/// Elements that tiles shared by a subgroup take at a time: what rows are padded to at least.
pub(super) const TILE_RUN: u32 = 16;

/// Shape and format of a quantized weight matrix `[n, k]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WeightShape {
    pub n: u32,
    pub k: u32,
    pub format: QuantFormat,
}

impl WeightShape {
    /// Checks extents and group size.
    pub fn check(self, kernel: &'static str) -> Result<Self, ShapeError> {
        check_extents(kernel, &[("n", self.n.into()), ("k", self.k.into())])?;
        if let Granularity::Group(group_size) = self.format.granularity {
            check_extents(kernel, &[("group_size", group_size.into())])?;
            check_multiple(
                kernel,
                ("k", self.k.into()),
                ("group_size", group_size.into()),
            )?;
            check_multiple(
                kernel,
                ("group_size", group_size.into()),
                ("one shader step,", STEP.into()),
            )?;
        }
        check_index(kernel, "n * k", u64::from(self.n) * u64::from(self.k))?;
        Ok(self)
    }

    /// Consecutive elements along k that share a scale.
    pub const fn group_size(self) -> u32 {
        match self.format.granularity {
            Granularity::Tensor | Granularity::Channel => self.k,
            Granularity::Group(group_size) => group_size,
        }
    }

    /// A shorter k of whole groups, past the longest run whose sums f32 holds exactly.
    pub const fn reduced_k(self) -> u32 {
        match self.format.granularity {
            Granularity::Tensor | Granularity::Channel => reduced_extent(self.k, 1088),
            Granularity::Group(group_size) => {
                let most = self.k / group_size;
                let wanted = 1088u32.div_ceil(group_size);
                group_size * if wanted < most { wanted } else { most }
            }
        }
    }

    pub const fn groups(self) -> u32 {
        self.k / self.group_size()
    }

    /// From one row's scales to the next: 0 when the whole tensor has one scale.
    pub const fn scale_row_stride(self) -> u32 {
        match self.format.granularity {
            Granularity::Tensor => 0,
            Granularity::Channel | Granularity::Group(_) => self.groups(),
        }
    }

    pub const fn row_words(self) -> u32 {
        let words = match self.format.bits {
            Bits::Int4 => self.k.div_ceil(8),
            Bits::Int8 => self.k.div_ceil(4),
        };
        words.next_multiple_of(4)
    }

    /// Scales (and zero points) of `rows` rows.
    pub fn scale_count(self, rows: u32) -> u64 {
        match self.format.granularity {
            Granularity::Tensor => 1,
            Granularity::Channel | Granularity::Group(_) => {
                u64::from(rows) * u64::from(self.groups())
            }
        }
    }

    pub fn has_zeros(self) -> bool {
        self.format.zero == Zero::ZeroPoint
    }

    pub fn has_minima(self) -> bool {
        self.format.zero == Zero::FloatMinimum
    }

    pub const fn scale_bytes(self) -> u64 {
        match self.format.scale_type {
            ScaleType::F32 => 4,
            ScaleType::F16 => 2,
        }
    }

    /// Bytes of codes, scales and zero points.
    pub fn bytes(self) -> f64 {
        self.slots().iter().map(|slot| slot.bytes as f64).sum()
    }

    pub fn slots(self) -> Vec<Slot> {
        let count = self.scale_count(self.n);
        let read = |binding, name, bytes| Slot {
            binding,
            name,
            access: Access::Read,
            bytes,
        };
        let mut slots = vec![
            read(
                CODES,
                "codes",
                4 * u64::from(self.n) * u64::from(self.row_words()),
            ),
            read(SCALES, "scales", count * self.scale_bytes()),
        ];
        if self.has_zeros() {
            slots.push(read(ZEROS, "zeros", count));
        }
        if self.has_minima() {
            slots.push(read(ZEROS, "minima", count * self.scale_bytes()));
        }
        slots
    }

    /// Bytes that one row occupies in each stream, for cutting the matrix by rows.
    pub fn row_streams(self) -> Vec<(u32, u64)> {
        let scales = u64::from(self.scale_row_stride());
        let mut streams = vec![
            (CODES, 4 * u64::from(self.row_words())),
            (SCALES, scales * self.scale_bytes()),
        ];
        if self.has_zeros() {
            streams.push((ZEROS, scales));
        }
        if self.has_minima() {
            streams.push((ZEROS, scales * self.scale_bytes()));
        }
        streams
    }

    /// Fills the slots for codes as numbers, scales, zero points and minima.
    pub fn choose(self, variant: Variant, codes: &'static str) -> Variant {
        let module = match self.format.bits {
            Bits::Int4 => "int4",
            Bits::Int8 => "int8",
        };
        self.choose_scales(variant).slot(codes, module)
    }

    /// Constants of entries that take rows in whole runs: runs of a group where that is one (0 where the
    /// parameters say how many), and groups whose scales are loaded together.
    pub fn choose_runs(self, variant: Variant) -> Variant {
        let one_run = self.group_size() == RUN;
        let pairs = one_run && self.groups().is_multiple_of(2);
        variant
            .number("RUNS", u32::from(one_run))
            .number("GROUPS", if pairs { 2 } else { 1 })
    }

    /// Fills the slots for scales, zero points and minima.
    pub fn choose_scales(self, variant: Variant) -> Variant {
        let scale = match self.format.scale_type {
            ScaleType::F32 => "f32",
            ScaleType::F16 => "f16",
        };
        let zero = match (self.format.zero, self.format.bits) {
            (Zero::Symmetric, _) => "none",
            (Zero::ZeroPoint, _) => "stored",
            (Zero::FloatMinimum, Bits::Int4) => "lowest_int4",
            (Zero::FloatMinimum, Bits::Int8) => "lowest_int8",
        };
        let minimum = match (self.format.zero, self.format.scale_type) {
            (Zero::Symmetric | Zero::ZeroPoint, _) => "none",
            (Zero::FloatMinimum, ScaleType::F32) => "f32",
            (Zero::FloatMinimum, ScaleType::F16) => "f16",
        };
        let variant = variant.slot("scale", scale).slot("zero", zero);
        variant.slot("minimum", minimum)
    }

    /// Code of an element in the signed domain, from the packed words.
    pub fn code(self, operands: &HostOperands<'_>, row: usize, column: usize) -> i32 {
        let words = &operands.words(CODES)[row * self.row_words() as usize..];
        match self.format.bits {
            Bits::Int4 => {
                let (word, within) = (words[column / 8], column % 8);
                let nibble = if within < 4 {
                    8 * within
                } else {
                    8 * (within - 4) + 4
                };
                ((word >> nibble) & 15) as i32 - 8
            }
            Bits::Int8 => i32::from((words[column / 4] >> (8 * (column % 4))) as u8 as i8),
        }
    }

    /// Index of an element's scale and zero point.
    pub fn scale_index(self, row: usize, column: usize) -> usize {
        row * self.scale_row_stride() as usize + column / self.group_size() as usize
    }

    pub fn scale(self, operands: &HostOperands<'_>, index: usize) -> f64 {
        self.stored_float(operands, SCALES, index)
    }

    /// What is added to a scaled code; 0 where there is no minimum.
    pub fn minimum(self, operands: &HostOperands<'_>, index: usize) -> f64 {
        if self.has_minima() {
            self.stored_float(operands, ZEROS, index)
        } else {
            0.0
        }
    }

    fn stored_float(self, operands: &HostOperands<'_>, binding: u32, index: usize) -> f64 {
        match self.format.scale_type {
            ScaleType::F32 => f64::from(operands.f32(binding)[index]),
            ScaleType::F16 => {
                f16::from_bits((operands.words(binding)[index / 2] >> (16 * (index % 2))) as u16)
                    .to_f64()
            }
        }
    }

    pub fn zero(self, operands: &HostOperands<'_>, index: usize) -> i32 {
        match self.format.zero {
            Zero::Symmetric => 0,
            Zero::ZeroPoint => {
                i32::from((operands.words(ZEROS)[index / 4] >> (8 * (index % 4))) as u8 as i8)
            }
            Zero::FloatMinimum => self.format.bits.min(),
        }
    }
}
