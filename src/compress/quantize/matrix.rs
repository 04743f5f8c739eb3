//! Matrices in codes of any width.

use std::fmt;

use super::width::{pack_codes, unpack_codes};
use crate::compress::CompressError;
use crate::num::{QuantizedMatrix, QuantizedParts, Width};

/// A quantized matrix that may use only some of the codes its kernels read.
///
/// [`Self::matrix`] is what runs. Its codes are `first + spacing * i` with `i` in `0..2^bits`: spacing 1
/// from [`Width::min`], or [`Width::widest_spacing`] from the container's first code, which gives zero
/// points a finer resolution than whole steps ([`super::hqq()`]).
#[derive(Clone, Debug, PartialEq)]
pub struct LinearMatrix {
    matrix: QuantizedMatrix,
    width: Width,
    spacing: i32,
}

/// A matrix whose codes may take all that kernels read.
impl From<QuantizedMatrix> for LinearMatrix {
    fn from(matrix: QuantizedMatrix) -> Self {
        let width = Width::of(matrix.format().bits);
        Self::new(matrix, width, 1)
    }
}

/// Displays as its format with the width of its own codes: `int2-g16-zp`.
impl fmt::Display for LinearMatrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let format = self.matrix.format().to_string();
        let read = self.width.container().to_string();
        match format.strip_prefix(&read) {
            Some(rest) => write!(f, "{}{rest}", self.width),
            None => f.write_str(&format),
        }
    }
}

impl LinearMatrix {
    /// A matrix whose codes are known to be of `width` at `spacing`.
    pub(in crate::compress) const fn new(
        matrix: QuantizedMatrix,
        width: Width,
        spacing: i32,
    ) -> Self {
        Self {
            matrix,
            width,
            spacing,
        }
    }

    /// What kernels read.
    #[must_use]
    pub const fn matrix(&self) -> &QuantizedMatrix {
        &self.matrix
    }

    /// Width of the codes.
    #[must_use]
    pub const fn width(&self) -> Width {
        self.width
    }

    /// Container codes from one code to the next.
    #[must_use]
    pub const fn spacing(&self) -> i32 {
        self.spacing
    }

    /// What is wider on a device than in a file, as part of a sentence.
    #[must_use]
    pub fn widened(&self) -> Option<String> {
        let (own, read) = (self.width, self.width.container());
        (own.bits() != read.bits())
            .then(|| format!("{own} codes are widened to {read}, which kernels read, at load"))
    }

    /// As [`QuantizedMatrix::select_rows`].
    #[must_use]
    pub fn select_rows(&self, rows: &[usize]) -> Option<Self> {
        let matrix = self.matrix.select_rows(rows)?;
        Some(Self::new(matrix, self.width, self.spacing))
    }

    /// The values `[n, k]`, as [`QuantizedMatrix::dequantize`] has them.
    #[must_use]
    pub fn dequantize(&self) -> Vec<f32> {
        self.matrix.dequantize()
    }

    /// The codes `[n, k]`, row after row without padding, at their own width: [`pack_codes`].
    ///
    /// # Errors
    /// None for matrices of this module; the type says so because codes are checked again.
    pub fn packed_codes(&self, tensor: &str) -> Result<Vec<u8>, CompressError> {
        let own = |code: i8| self.own_code(i32::from(code));
        let codes: Vec<i32> = self.matrix.unpacked_codes().into_iter().map(own).collect();
        pack_codes(tensor, self.width, &codes)
    }

    /// Bits a weight takes when codes are packed at their own width: scales of their type and zero points
    /// of a byte included.
    #[must_use]
    pub fn bits_per_weight(&self) -> f64 {
        let weights = (self.matrix.n() * self.matrix.k()) as f64;
        let scale_bits =
            self.matrix.scales().len() as f64 * f64::from(self.matrix.format().scale_type.bits());
        let zero_bits = self.matrix.zeros().map_or(0, <[i32]>::len) as f64 * 8.0;
        f64::from(self.width.bits()) + (scale_bits + zero_bits) / weights
    }

    /// Puts a matrix together again from packed codes. `parts` says everything but the codes; its
    /// `bits` and `codes` are not read.
    ///
    /// # Errors
    /// [`CompressError`] naming `tensor`: a spacing that the width has not, bytes that are not the codes,
    /// and what [`QuantizedMatrix::from_codes`] refuses.
    pub fn from_packed(
        tensor: &str,
        width: Width,
        spacing: i32,
        bytes: &[u8],
        parts: &QuantizedParts<'_>,
    ) -> Result<Self, CompressError> {
        CompressError::check_range(
            tensor,
            "spacing",
            f64::from(spacing),
            spacing == 1 || spacing == width.widest_spacing(),
            "1, or 2 at int3, or 4 at int2 and int6",
        )?;
        let count = parts.n.saturating_mul(parts.k);
        let codes = unpack_codes(tensor, width, count, bytes)?;
        // Own code `min` is the first of the container's when spread: min * spacing.
        let codes: Vec<i8> = codes.iter().map(|&code| (code * spacing) as i8).collect();
        let matrix = QuantizedMatrix::from_codes(
            tensor,
            &QuantizedParts {
                bits: width.container(),
                codes: &codes,
                ..*parts
            },
        )?;
        Ok(Self::new(matrix, width, spacing))
    }

    /// The code at its own width: container codes are its multiples.
    const fn own_code(&self, code: i32) -> i32 {
        code / self.spacing
    }
}
