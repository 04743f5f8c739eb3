//! Quantized weights row by row, from the packed words.

use half::f16;
use half::slice::HalfFloatSliceExt as _;

use crate::kernels::weight::{CODES, SCALES, WeightShape, ZEROS};
use crate::num::{Bits, ScaleType, Zero};
use crate::record::HostOperands;

use super::lanes::{
    self, Groups, LANES, Lanes, Nibbles, dequantize, dot_int4, dot_int8, unpack_int4, unpack_int8,
};
use super::product::{Blocks, MOST_VECTORS, Sums};

/// Bytes of codes that inner loops take at a time; rows are padded to as many.
const RUN_BYTES: usize = 16;

/// A weight in its words.
#[derive(Debug, Clone, Copy)]
pub struct HostWeight<'a> {
    shape: WeightShape,
    codes: &'a [u32],
    scales: &'a [u32],
    /// Zero points or minima, where the format has them.
    zeros: &'a [u32],
}

/// Scales, zero points and minima of one row, and room for its values.
#[derive(Debug)]
pub struct Scratch {
    scales: Vec<f32>,
    zeros: Vec<i32>,
    minima: Vec<f32>,
    /// One for each code, those behind the row included.
    values: Vec<f32>,
}

/// A row of x as the codes of a weight want it.
struct Vector {
    row: Vec<f32>,
    /// In the order of int4 codes, with zeros behind the end.
    nibbles: Vec<Nibbles>,
    /// In the order of int8 codes.
    lanes: Vec<Lanes>,
    /// Sums over groups, where there are minima.
    sums: Vec<f32>,
}

impl<'a> HostWeight<'a> {
    pub fn new(shape: WeightShape, operands: &HostOperands<'a>) -> Self {
        Self {
            shape,
            codes: operands.words(CODES),
            scales: operands.words(SCALES),
            zeros: operands.get(ZEROS).unwrap_or_default(),
        }
    }

    pub fn scratch(&self) -> Scratch {
        let groups = self.shape.groups() as usize;
        let per_byte = match self.shape.format.bits {
            Bits::Int4 => 2,
            Bits::Int8 => 1,
        };
        Scratch {
            scales: vec![0.0; groups],
            zeros: vec![0; groups],
            minima: vec![0.0; groups],
            values: vec![0.0; 4 * self.shape.row_words() as usize * per_byte],
        }
    }

    /// The product of `x [m, k]` with the weight.
    pub fn product(&self, x: &[f32], m: usize) -> Sums {
        let (n, k) = (self.shape.n as usize, self.shape.k as usize);
        if m > MOST_VECTORS {
            let row = |scratch: &mut Scratch, index: usize, values: &mut [f32]| {
                self.decode(index, scratch, values);
            };
            return Sums::of_blocks(&Blocks::new(x, (m, k)), n, || self.scratch(), row);
        }
        let vectors: Vec<Vector> = x.chunks_exact(k).map(|row| self.vector(row)).collect();
        let scratch = || self.scratch();
        Sums::of_panels((m, n, k), scratch, |scratch, columns, sums| {
            for (at, column) in columns.enumerate() {
                self.load_groups(column, scratch);
                if !self.in_runs() {
                    self.unpack(column, &mut scratch.values);
                }
                for (vector, sums) in vectors.iter().zip(&mut *sums) {
                    sums[at] = self.dot(vector, column, scratch);
                }
            }
        })
    }

    /// Values of a row.
    pub fn decode(&self, row: usize, scratch: &mut Scratch, values: &mut [f32]) {
        self.load_groups(row, scratch);
        self.unpack(row, &mut scratch.values);
        values.copy_from_slice(&scratch.values[..values.len()]);
        let groups = values.chunks_mut(self.shape.group_size() as usize);
        for (group, values) in groups.enumerate() {
            let zero = scratch.zeros[group] as f32;
            dequantize(values, zero, scratch.scales[group], scratch.minima[group]);
        }
    }

    /// Codes of a row less their zero points, and its scales.
    pub fn load_integers(&self, row: usize, scratch: &mut Scratch, codes: &mut [i16]) {
        self.load_groups(row, scratch);
        self.unpack(row, &mut scratch.values);
        let size = self.shape.group_size() as usize;
        let groups = codes.chunks_mut(size).zip(scratch.values.chunks(size));
        for ((codes, values), &zero) in groups.zip(&scratch.zeros) {
            for (code, &value) in codes.iter_mut().zip(values) {
                *code = (value as i32 - zero) as i16;
            }
        }
    }

    /// The scale of an element of a row whose groups are loaded.
    pub fn scale_of(&self, scratch: &Scratch, at: usize) -> f32 {
        scratch.scales[at / self.shape.group_size() as usize]
    }

    /// The minimum of an element of a row whose groups are loaded; 0 where the format has none.
    pub fn minimum_of(&self, scratch: &Scratch, at: usize) -> f32 {
        scratch.minima[at / self.shape.group_size() as usize]
    }

    /// Whether codes count from a minimum.
    pub fn has_minima(&self) -> bool {
        self.shape.has_minima()
    }

    pub const fn n(&self) -> usize {
        self.shape.n as usize
    }

    /// Whether groups are whole runs of bytes, so that codes need no unpacking first. A group of a whole row may
    /// end inside a run: x has zeros there.
    fn in_runs(&self) -> bool {
        let codes = match self.shape.format.bits {
            Bits::Int4 => 2 * RUN_BYTES,
            Bits::Int8 => RUN_BYTES,
        };
        self.shape.groups() == 1 || (self.shape.group_size() as usize).is_multiple_of(codes)
    }

    fn row_codes(&self, row: usize) -> &'a [u32] {
        let words = self.shape.row_words() as usize;
        &self.codes[row * words..(row + 1) * words]
    }

    /// Numbers of a row's codes: from 0 up for int4.
    fn unpack(&self, row: usize, values: &mut [f32]) {
        let bytes: &[u8] = bytemuck::cast_slice(self.row_codes(row));
        match self.shape.format.bits {
            Bits::Int4 => unpack_int4(bytes.as_chunks().0, values.as_chunks_mut().0),
            Bits::Int8 => unpack_int8(bytes, values),
        }
    }

    fn load_groups(&self, row: usize, scratch: &mut Scratch) {
        let first = row * self.shape.scale_row_stride() as usize;
        self.load_floats(self.scales, first, &mut scratch.scales);
        // What int4 codes count from.
        let lowest = match self.shape.format.bits {
            Bits::Int4 => self.shape.format.bits.min(),
            Bits::Int8 => 0,
        };
        match self.shape.format.zero {
            Zero::Symmetric => scratch.zeros.fill(-lowest),
            Zero::FloatMinimum => {
                scratch.zeros.fill(self.shape.format.bits.min() - lowest);
                self.load_floats(self.zeros, first, &mut scratch.minima);
            }
            Zero::ZeroPoint => {
                let points: &[i8] = bytemuck::cast_slice(self.zeros);
                for (zero, &point) in scratch.zeros.iter_mut().zip(&points[first..]) {
                    *zero = i32::from(point) - lowest;
                }
            }
        }
    }

    fn load_floats(&self, words: &[u32], first: usize, values: &mut [f32]) {
        let range = first..first + values.len();
        match self.shape.format.scale_type {
            ScaleType::F32 => values.copy_from_slice(&bytemuck::cast_slice(words)[range]),
            ScaleType::F16 => {
                let halves: &[f16] = bytemuck::cast_slice(words);
                halves[range].convert_to_f32_slice(values);
            }
        }
    }

    fn vector(&self, row: &[f32]) -> Vector {
        let runs = 4 * self.shape.row_words() as usize / RUN_BYTES;
        let mut vector = Vector {
            row: row.to_vec(),
            nibbles: Vec::new(),
            lanes: Vec::new(),
            sums: Vec::new(),
        };
        if self.in_runs() {
            match self.shape.format.bits {
                Bits::Int4 => {
                    vector.nibbles = vec![[0.0; 2 * LANES]; runs];
                    for (at, &value) in row.iter().enumerate() {
                        let (step, within) = (at % (2 * LANES) / 8, at % 8);
                        let place = 4 * step + within % 4 + LANES * (within / 4);
                        vector.nibbles[at / (2 * LANES)][place] = value;
                    }
                }
                Bits::Int8 => {
                    vector.lanes = vec![[0.0; LANES]; runs];
                    for (at, &value) in row.iter().enumerate() {
                        vector.lanes[at / LANES][at % LANES] = value;
                    }
                }
            }
        }
        if self.shape.has_minima() {
            let groups = row.chunks(self.shape.group_size() as usize);
            vector.sums = groups.map(lanes::sum).collect();
        }
        vector
    }

    /// One element, of a row whose groups are loaded, and whose codes are unpacked unless they lie in runs.
    fn dot(&self, vector: &Vector, row: usize, scratch: &Scratch) -> f32 {
        let runs = 4 * self.shape.row_words() as usize / RUN_BYTES;
        let sum = if self.in_runs() {
            let bytes: &[u8] = bytemuck::cast_slice(self.row_codes(row));
            let groups = Groups {
                blocks: runs / self.shape.groups() as usize,
                scales: &scratch.scales,
                zeros: &scratch.zeros,
            };
            match self.shape.format.bits {
                Bits::Int4 => dot_int4(&vector.nibbles, bytes.as_chunks().0, groups),
                Bits::Int8 => dot_int8(&vector.lanes, bytes.as_chunks().0, groups),
            }
        } else {
            let size = self.shape.group_size() as usize;
            let pairs = vector.row.chunks(size).zip(scratch.values.chunks(size));
            let groups = scratch.scales.iter().zip(&scratch.zeros);
            let mut sum = 0.0;
            for ((x, codes), (&scale, &zero)) in pairs.zip(groups) {
                sum += scale * lanes::dot_from(x, codes, zero as f32);
            }
            sum
        };
        if self.shape.has_minima() {
            sum + lanes::dot(&scratch.minima, &vector.sums)
        } else {
            sum
        }
    }
}
