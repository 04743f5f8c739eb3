//! A weight matrix in integer codes, held as the words that go to the device.
//!
//! Immutable once made: [`super::quantize()`] or [`QuantizedMatrix::from_codes`] check everything,
//! and whoever holds one may trust it. The words are described in [`super::layout`].

use super::format::{Granularity, QuantFormat, ScaleType, Zero};
use super::layout::{Shape, pack_bytes, pack_row, read_code};
use crate::num::float::pack_f16;

/// What the codes of a group are counted from: as many as scales, or none.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Zeros {
    None,
    Points(Vec<i32>),
    /// Every value fits the scale type.
    Minima(Vec<f32>),
}

/// An `[n, k]` matrix `w = scale * (q - zero)`, or `w = scale * (q + 2^(b-1)) + minimum`, packed.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantizedMatrix {
    format: QuantFormat,
    shape: Shape,
    /// `[n, row_stride_words]`
    codes: Vec<u32>,
    /// `[n * groups_per_row]`, or one for a tensor; every value fits `format.scale_type`.
    scales: Vec<f32>,
    zeros: Zeros,
}

impl QuantizedMatrix {
    /// Packs parts that are known to be good.
    pub(super) fn assemble(
        format: QuantFormat,
        shape: Shape,
        codes: &[i8],
        scales: Vec<f32>,
        zeros: Zeros,
    ) -> Self {
        let mut words = vec![0; shape.n * shape.row_stride_words];
        let rows = codes.chunks_exact(shape.k);
        for (row, (codes, words)) in rows
            .zip(words.chunks_exact_mut(shape.row_stride_words))
            .enumerate()
        {
            let last_group = shape.scale_index(row, shape.k - 1);
            let padding = match &zeros {
                Zeros::None => 0,
                Zeros::Points(zeros) => zeros[last_group] as i8,
                Zeros::Minima(_) => format.bits.min() as i8,
            };
            pack_row(format.bits, codes, padding, words);
        }
        Self {
            format,
            shape,
            codes: words,
            scales,
            zeros,
        }
    }

    /// Matrices of one format and one `k` below each other, as one of all their rows: products with the same
    /// input become one. `None` for formats or `k` that differ, for one scale of a whole tensor, and for none.
    #[must_use]
    pub fn stacked(parts: &[Self]) -> Option<Self> {
        let first = parts.first()?;
        let is_like = |part: &Self| part.format == first.format && part.k() == first.k();
        if first.format.granularity == Granularity::Tensor || !parts.iter().all(is_like) {
            return None;
        }
        let n = parts
            .iter()
            .try_fold(0usize, |n, part| n.checked_add(part.n()))?;
        let format = first.format;
        let shape = Shape::new("", n, first.k(), format.bits, format.granularity).ok()?;
        let zeros = match &first.zeros {
            Zeros::None => Zeros::None,
            Zeros::Points(_) => Zeros::Points(
                parts
                    .iter()
                    .filter_map(Self::zeros)
                    .flatten()
                    .copied()
                    .collect(),
            ),
            Zeros::Minima(_) => Zeros::Minima(
                parts
                    .iter()
                    .filter_map(Self::minima)
                    .flatten()
                    .copied()
                    .collect(),
            ),
        };
        let codes = parts.iter().flat_map(|part| &part.codes).copied().collect();
        let scales = parts
            .iter()
            .flat_map(|part| &part.scales)
            .copied()
            .collect();
        Some(Self {
            format: first.format,
            shape,
            codes,
            scales,
            zeros,
        })
    }

    /// The matrix of these rows, in this order; `None` for a row that is not there, for none, and for one scale of a
    /// whole tensor.
    #[must_use]
    pub fn select_rows(&self, rows: &[usize]) -> Option<Self> {
        let format = self.format;
        if format.granularity == Granularity::Tensor || rows.iter().any(|&row| row >= self.n()) {
            return None;
        }
        let shape = Shape::new("", rows.len(), self.k(), format.bits, format.granularity).ok()?;
        let groups = self.groups_per_row();
        let of = |row: &usize| row * groups..(row + 1) * groups;
        let zeros = match &self.zeros {
            Zeros::None => Zeros::None,
            Zeros::Points(all) => {
                Zeros::Points(rows.iter().flat_map(|row| &all[of(row)]).copied().collect())
            }
            Zeros::Minima(all) => {
                Zeros::Minima(rows.iter().flat_map(|row| &all[of(row)]).copied().collect())
            }
        };
        let codes = rows.iter().flat_map(|&row| self.row_words(row));
        let scales = rows.iter().flat_map(|row| &self.scales[of(row)]);
        Some(Self {
            format,
            shape,
            codes: codes.copied().collect(),
            scales: scales.copied().collect(),
            zeros,
        })
    }

    /// How the matrix is stored. (Not how it was found: an imported one has no known
    /// [`super::Scheme`].)
    #[must_use]
    pub fn format(&self) -> QuantFormat {
        self.format
    }

    /// Rows, output features.
    #[must_use]
    pub fn n(&self) -> usize {
        self.shape.n
    }

    /// Columns, input features.
    #[must_use]
    pub fn k(&self) -> usize {
        self.shape.k
    }

    /// Elements of a row that share a scale; `k` for channels and for a tensor.
    #[must_use]
    pub fn group_size(&self) -> usize {
        self.shape.group_size
    }

    /// Scales to a row; 1 for channels, and for a tensor, whose rows all use the same one.
    #[must_use]
    pub fn groups_per_row(&self) -> usize {
        self.shape.k / self.shape.group_size
    }

    /// Words from one row of [`codes`](Self::codes) to the next, a multiple of 4.
    #[must_use]
    pub fn row_stride_words(&self) -> usize {
        self.shape.row_stride_words
    }

    /// Packed codes `[n, row_stride_words]`, as [`super::layout`] has them.
    #[must_use]
    pub fn codes(&self) -> &[u32] {
        &self.codes
    }

    /// The values of the stored scales, `[n * groups_per_row]`, or one for a tensor.
    #[must_use]
    pub fn scales(&self) -> &[f32] {
        &self.scales
    }

    /// Zero points in the domain of the signed codes, as many as scales; `None` if there are none.
    #[must_use]
    pub fn zeros(&self) -> Option<&[i32]> {
        match &self.zeros {
            Zeros::Points(zeros) => Some(zeros),
            Zeros::None | Zeros::Minima(_) => None,
        }
    }

    /// The values of the stored minima, as many as scales; `None` if there are none.
    #[must_use]
    pub fn minima(&self) -> Option<&[f32]> {
        match &self.zeros {
            Zeros::Minima(minima) => Some(minima),
            Zeros::None | Zeros::Points(_) => None,
        }
    }

    /// Scales as device words: an f32 bit pattern each, or two f16 to a word, low half first.
    #[must_use]
    pub fn packed_scales(&self) -> Vec<u32> {
        self.pack_floats(&self.scales)
    }

    /// Zero points as device words: a signed byte each, four to a word, low byte first. Minima are
    /// packed as scales are.
    #[must_use]
    pub fn packed_zeros(&self) -> Option<Vec<u32>> {
        match &self.zeros {
            Zeros::None => None,
            Zeros::Points(zeros) => Some(pack_bytes(zeros.iter().map(|&zero| zero as i8))),
            Zeros::Minima(minima) => Some(self.pack_floats(minima)),
        }
    }

    fn pack_floats(&self, values: &[f32]) -> Vec<u32> {
        match self.format.scale_type {
            ScaleType::F32 => values.iter().map(|value| value.to_bits()).collect(),
            ScaleType::F16 => pack_f16(values),
        }
    }

    /// The signed code of an element.
    ///
    /// # Panics
    /// If `row` or `column` is outside the matrix, which is a bug of the caller.
    #[must_use]
    pub fn code(&self, row: usize, column: usize) -> i32 {
        assert!(
            row < self.n() && column < self.k(),
            "element ({row}, {column}) of a {} x {} matrix",
            self.n(),
            self.k()
        );
        read_code(self.format.bits, self.row_words(row), column)
    }

    /// The exact value of an element, `scale * (q - zero)`. Above a minimum it is rounded to f64 once,
    /// and exact with f16 scales.
    ///
    /// # Panics
    /// If `row` or `column` is outside the matrix, which is a bug of the caller.
    #[must_use]
    pub fn weight(&self, row: usize, column: usize) -> f64 {
        let group = self.shape.scale_index(row, column);
        let (zero, minimum) = self.zero_of(group);
        f64::from(self.code(row, column) - zero) * f64::from(self.scales[group])
            + f64::from(minimum)
    }

    /// Zero point and minimum of a group. Above a minimum the smallest code is the zero point.
    fn zero_of(&self, group: usize) -> (i32, f32) {
        match &self.zeros {
            Zeros::None => (0, 0.0),
            Zeros::Points(zeros) => (zeros[group], 0.0),
            Zeros::Minima(minima) => (self.format.bits.min(), minima[group]),
        }
    }

    /// All signed codes, `[n, k]` without padding: what [`Self::from_codes`] takes.
    #[must_use]
    pub fn unpacked_codes(&self) -> Vec<i8> {
        let mut codes = Vec::with_capacity(self.shape.n_weights());
        for row in 0..self.n() {
            let words = self.row_words(row);
            codes.extend(
                (0..self.k()).map(|column| read_code(self.format.bits, words, column) as i8),
            );
        }
        codes
    }

    /// All weights `[n, k]`, each [`Self::weight`] rounded to f32; exact for f16 scales without
    /// minima.
    #[must_use]
    pub fn dequantize(&self) -> Vec<f32> {
        let mut weights = Vec::with_capacity(self.shape.n_weights());
        for row in 0..self.n() {
            let words = self.row_words(row);
            for start in (0..self.k()).step_by(self.group_size()) {
                let group = self.shape.scale_index(row, start);
                let scale = self.scales[group];
                let (zero, minimum) = self.zero_of(group);
                let columns = start..start + self.group_size();
                let steps = columns
                    .map(|column| (read_code(self.format.bits, words, column) - zero) as f32);
                if self.format.zero == Zero::FloatMinimum {
                    // In f64, so that the product of 24 and 8 bits does not round before the sum.
                    weights.extend(steps.map(|step| {
                        (f64::from(step) * f64::from(scale) + f64::from(minimum)) as f32
                    }));
                } else {
                    weights.extend(steps.map(|step| step * scale));
                }
            }
        }
        weights
    }

    /// Device bytes of codes, scales and zero points, padding included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let scale_words = (self.scales.len() * self.format.scale_type.bits() as usize).div_ceil(32);
        let zero_words = match &self.zeros {
            Zeros::None => 0,
            Zeros::Points(zeros) => zeros.len().div_ceil(4),
            Zeros::Minima(_) => scale_words,
        };
        4 * (self.codes.len() + scale_words + zero_words)
    }

    /// Device bits per weight: `b + 16/g` for f16 scales, `+ 8/g` with zero points or `+ 16/g` with
    /// minima, plus row padding and tails.
    #[must_use]
    pub fn bits_per_weight(&self) -> f64 {
        8.0 * self.bytes() as f64 / self.shape.n_weights() as f64
    }

    fn row_words(&self, row: usize) -> &[u32] {
        &self.codes[row * self.row_stride_words()..][..self.row_stride_words()]
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Scheme, quantize};
    use super::*;
    use crate::num::quant::{Bits, Granularity, QuantizedParts};

    const CODES: [i8; 16] = [-8, 7, 0, 1, 2, 3, 4, 5, -1, -2, -3, -4, -5, -6, -7, -8];

    fn parts() -> QuantizedParts<'static> {
        QuantizedParts {
            bits: Bits::Int4,
            granularity: Granularity::Group(8),
            n: 1,
            k: 16,
            codes: &CODES,
            scales: &[0.5, -2.0],
            scale_type: ScaleType::F16,
            zeros: Some(&[3, -8]),
        }
    }

    #[test]
    fn golden_words_of_codes_scales_and_zero_points() {
        let matrix = QuantizedMatrix::from_codes("w", &parts()).unwrap();
        // Elements 0..8 as nibbles: 0 f 8 9 | a b c d. Elements 8..16: 7 6 5 4 | 3 2 1 0. Padding:
        // -8, nibble 0.
        assert_eq!(matrix.codes(), [0xd9c8_bfa0, 0x0415_2637, 0, 0]);
        assert_eq!(matrix.packed_scales(), [0xc000_3800]);
        assert_eq!(matrix.packed_zeros(), Some(vec![0x0000_f803]));
        assert_eq!(matrix.format().to_string(), "int4-g8-zp");
        assert_eq!(
            [matrix.code(0, 0), matrix.code(0, 7), matrix.code(0, 15)],
            [-8, 5, -8]
        );
        assert_eq!(matrix.weight(0, 0), -5.5);
        assert_eq!(matrix.weight(0, 8), -14.0);
        assert_eq!(matrix.unpacked_codes(), CODES);
    }

    #[test]
    fn f32_scales_are_their_bit_patterns() {
        let matrix = QuantizedMatrix::from_codes(
            "w",
            &QuantizedParts {
                scale_type: ScaleType::F32,
                scales: &[0.1, 1e-40],
                zeros: None,
                ..parts()
            },
        )
        .unwrap();
        assert_eq!(matrix.packed_scales(), [0x3dcc_cccd, 0x0001_16c2]);
        assert_eq!(matrix.packed_zeros(), None);
        assert_eq!(matrix.codes()[2..], [0x8888_8888; 2]);
    }

    #[test]
    fn int8_takes_minus_128_and_a_tensor_takes_one_scale() {
        let matrix = QuantizedMatrix::from_codes(
            "w",
            &QuantizedParts {
                bits: Bits::Int8,
                granularity: Granularity::Tensor,
                n: 2,
                k: 1,
                codes: &[-128, 127],
                scales: &[0.25],
                scale_type: ScaleType::F32,
                zeros: Some(&[-128]),
            },
        )
        .unwrap();
        assert_eq!(
            matrix.codes(),
            [
                0x8080_8080,
                0x8080_8080,
                0x8080_8080,
                0x8080_8080,
                0x8080_807f,
                0x8080_8080,
                0x8080_8080,
                0x8080_8080
            ]
        );
        assert_eq!(matrix.dequantize(), [0.0, 63.75]);
        assert_eq!([matrix.groups_per_row(), matrix.group_size()], [1, 1]);
    }

    #[test]
    fn stacked_matrices_have_the_rows_of_all_and_other_formats_do_not_stack() {
        let matrix = QuantizedMatrix::from_codes("w", &parts()).unwrap();
        let stacked = QuantizedMatrix::stacked(&[matrix.clone(), matrix.clone()]).unwrap();
        assert_eq!([stacked.n(), stacked.k()], [2 * matrix.n(), matrix.k()]);
        let rows = matrix.dequantize();
        assert_eq!(stacked.dequantize(), [rows.clone(), rows].concat());
        // Four codes words a row, four f16 scales, four zero points of a byte.
        assert_eq!(stacked.bytes(), 4 * (2 * 4 + 2 + 1));
        let other = QuantizedParts {
            scale_type: ScaleType::F32,
            ..parts()
        };
        let other = QuantizedMatrix::from_codes("w", &other).unwrap();
        assert_eq!(QuantizedMatrix::stacked(&[matrix, other]), None);
        assert_eq!(QuantizedMatrix::stacked(&[]), None);
    }

    #[test]
    fn rows_can_be_taken_out_and_put_into_another_order() {
        for scheme in [
            Scheme::int8_channel(),
            Scheme::int4_group(8),
            Scheme::int4_group_zero_point(8),
            Scheme::int4_group_minimum(8),
        ] {
            let (n, k) = (5, 24);
            let values: Vec<f32> = (0..n * k).map(|i| (i * 37 % 101) as f32 - 50.0).collect();
            let matrix = quantize("w", &values, n, k, &scheme).unwrap();
            let all = matrix.dequantize();
            let taken = matrix.select_rows(&[4, 0, 4]).unwrap();
            let row = |row: usize| &all[row * k..(row + 1) * k];
            assert_eq!(
                taken.dequantize(),
                [row(4), row(0), row(4)].concat(),
                "{scheme}"
            );
            let parts = [matrix.select_rows(&[0, 1]), matrix.select_rows(&[2, 3, 4])];
            let again = QuantizedMatrix::stacked(&parts.map(Option::unwrap));
            assert_eq!(again, Some(matrix.clone()), "{scheme}");
            assert_eq!(matrix.select_rows(&[5]), None);
            assert_eq!(matrix.select_rows(&[]), None);
        }
        let tensor = quantize("w", &[1.0; 16], 2, 8, &Scheme::int8_tensor()).unwrap();
        assert_eq!(tensor.select_rows(&[0]), None);
    }

    #[test]
    fn dequantize_is_every_weight_rounded_to_f32() {
        let matrix = QuantizedMatrix::from_codes("w", &parts()).unwrap();
        let expected: Vec<f32> = (0..16)
            .map(|column| matrix.weight(0, column) as f32)
            .collect();
        assert_eq!(matrix.dequantize(), expected);
    }

    #[test]
    fn bytes_count_every_word_handed_to_the_device() {
        let matrix = QuantizedMatrix::from_codes("w", &parts()).unwrap();
        assert_eq!(matrix.bytes(), 4 * (4 + 1 + 1));
        assert_eq!(matrix.bits_per_weight(), 12.0);
    }
}
