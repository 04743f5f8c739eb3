//! A mask: one bit for each element of a matrix.

use super::{MaskError, Units};

/// Which elements of a matrix `[n, k]` are kept.
///
/// Bit `j % 32` of word `j / 32` of a row is column `j`. Rows are padded to whole words, `ceil(k / 32)`
/// each, with zeros.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mask {
    n: usize,
    k: usize,
    words: Vec<u32>,
}

impl Mask {
    /// A mask from its words.
    ///
    /// # Errors
    /// [`MaskError`] for no elements, another number of words than the shape has, and padding that is
    /// not zero; `tensor` is for the message.
    pub fn from_words(
        tensor: &str,
        n: usize,
        k: usize,
        words: Vec<u32>,
    ) -> Result<Self, MaskError> {
        if n == 0 || k == 0 {
            let tensor = tensor.to_owned();
            return Err(MaskError::Empty { tensor, n, k });
        }
        let expected = n.saturating_mul(k.div_ceil(32));
        if words.len() != expected {
            return Err(MaskError::WrongLength {
                tensor: tensor.to_owned(),
                what: "words",
                found: words.len(),
                expected,
                n,
                k,
            });
        }
        let mask = Self { n, k, words };
        let row = (0..n).find(|&row| mask.last_word(row) & !tail_bits(k) != 0);
        match row {
            Some(row) => Err(MaskError::Padding {
                tensor: tensor.to_owned(),
                row,
                k,
            }),
            None => Ok(mask),
        }
    }

    /// A mask that keeps what `keep` says of row and column.
    #[must_use]
    pub fn from_fn(n: usize, k: usize, mut keep: impl FnMut(usize, usize) -> bool) -> Self {
        let row_words = k.div_ceil(32);
        let mut words = vec![0; n * row_words];
        for row in 0..n {
            for column in 0..k {
                words[row * row_words + column / 32] |=
                    u32::from(keep(row, column)) << (column % 32);
            }
        }
        Self { n, k, words }
    }

    /// A mask of units spread over their elements: `self` has a bit for each unit of a matrix of `n`
    /// by `k`.
    ///
    /// # Errors
    /// [`MaskError::Shapes`] when `self` has another shape than the units do.
    pub fn expand(&self, n: usize, k: usize, units: Units) -> Result<Self, MaskError> {
        let [rows, columns] = units.count(n, k);
        self.same_shape(rows, columns)?;
        if units == Units::ELEMENTS {
            return Ok(self.clone());
        }
        Ok(Self::from_fn(n, k, |row, column| {
            self.keeps(row / units.rows, column / units.columns)
        }))
    }

    /// Rows.
    pub const fn n(&self) -> usize {
        self.n
    }

    /// Columns.
    pub const fn k(&self) -> usize {
        self.k
    }

    /// Words of a row.
    pub const fn row_words(&self) -> usize {
        self.k.div_ceil(32)
    }

    /// All words, `[n, row_words]`.
    pub fn words(&self) -> &[u32] {
        &self.words
    }

    /// Whether an element is kept.
    ///
    /// # Panics
    /// When row or column lies outside: a caller's bug.
    pub fn keeps(&self, row: usize, column: usize) -> bool {
        assert!(
            row < self.n && column < self.k,
            "({row}, {column}) of {} x {}",
            self.n,
            self.k
        );
        self.words[row * self.row_words() + column / 32] >> (column % 32) & 1 == 1
    }

    /// Elements kept.
    pub fn kept(&self) -> usize {
        self.words
            .iter()
            .map(|word| word.count_ones() as usize)
            .sum()
    }

    /// Share of elements kept.
    pub fn density(&self) -> f64 {
        self.kept() as f64 / (self.n as f64 * self.k as f64)
    }

    /// What both keep.
    ///
    /// # Errors
    /// [`MaskError::Shapes`] for masks of different shape.
    pub fn and(&self, other: &Self) -> Result<Self, MaskError> {
        self.same_shape(other.n, other.k)?;
        let both = |(a, b): (&u32, &u32)| a & b;
        Ok(Self {
            words: self.words.iter().zip(&other.words).map(both).collect(),
            ..*self
        })
    }

    /// Whether the other mask keeps everything that this one keeps.
    ///
    /// # Errors
    /// [`MaskError::Shapes`] for masks of different shape.
    pub fn is_subset_of(&self, other: &Self) -> Result<bool, MaskError> {
        self.same_shape(other.n, other.k)?;
        Ok(self
            .words
            .iter()
            .zip(&other.words)
            .all(|(own, others)| own & !others == 0))
    }

    /// The weights `[n, k]` with +0 wherever the mask keeps nothing; what is kept keeps its bits.
    ///
    /// # Errors
    /// [`MaskError::WrongLength`] for another number of weights; `tensor` is for the message.
    pub fn apply(&self, tensor: &str, weights: &[f32]) -> Result<Vec<f32>, MaskError> {
        if weights.len() != self.n * self.k {
            return Err(MaskError::WrongLength {
                tensor: tensor.to_owned(),
                what: "weights",
                found: weights.len(),
                expected: self.n * self.k,
                n: self.n,
                k: self.k,
            });
        }
        let masked = |(index, &weight): (usize, &f32)| {
            if self.keeps(index / self.k, index % self.k) {
                weight
            } else {
                0.0
            }
        };
        Ok(weights.iter().enumerate().map(masked).collect())
    }

    fn last_word(&self, row: usize) -> u32 {
        self.words[(row + 1) * self.row_words() - 1]
    }

    fn same_shape(&self, n: usize, k: usize) -> Result<(), MaskError> {
        if (self.n, self.k) == (n, k) {
            return Ok(());
        }
        Err(MaskError::Shapes {
            n: self.n,
            k: self.k,
            other_n: n,
            other_k: k,
        })
    }
}

/// Bits of a row's last word that belong to columns.
const fn tail_bits(k: usize) -> u32 {
    u32::MAX >> ((32 - k % 32) % 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn column_j_is_bit_j_of_a_row_and_rows_begin_with_a_word() {
        let mask = Mask::from_fn(2, 40, |row, column| {
            row == 1 && (column == 0 || column == 33)
        });
        assert_eq!(mask.words(), [0, 0, 1, 2]);
        assert_eq!((mask.row_words(), mask.kept()), (2, 2));
        assert_eq!(mask.density(), 2.0 / 80.0);
        assert!(mask.keeps(1, 33) && !mask.keeps(0, 33));
        let again = Mask::from_words("w", 2, 40, mask.words().to_vec());
        assert_eq!(again, Ok(mask));
    }

    #[test]
    fn words_that_do_not_fit_the_shape_are_refused() {
        let error = Mask::from_words("w", 2, 40, vec![0; 3]).expect_err("four words");
        assert_eq!(error.to_string(), "w: 2 x 40 calls for 4 words, found 3");
        let error = Mask::from_words("w", 2, 40, vec![0, 0, 0, 0x100]).expect_err("bit 40");
        assert_eq!(
            error.to_string(),
            "w: row 1 has bits set from column 40 on; padding must be 0"
        );
        assert!(Mask::from_words("w", 2, 32, vec![u32::MAX; 2]).is_ok());
        assert!(Mask::from_words("w", 0, 32, Vec::new()).is_err());
    }

    #[test]
    fn pruned_places_are_positive_zero_and_kept_ones_keep_their_bits() {
        let mask = Mask::from_fn(1, 4, |_, column| column % 2 == 1);
        let masked = mask
            .apply("w", &[-1.0, -0.0, f32::NAN, -3.0])
            .expect("four weights");
        let bits: Vec<u32> = masked.iter().map(|value| value.to_bits()).collect();
        assert_eq!(bits, [0, 0x8000_0000, 0, (-3.0f32).to_bits()]);
        assert!(mask.apply("w", &[1.0]).is_err());
    }

    #[test]
    fn what_both_keep_is_a_subset_of_each() {
        let even = Mask::from_fn(3, 50, |_, column| column % 2 == 0);
        let third = Mask::from_fn(3, 50, |row, column| (row + column) % 3 == 0);
        let both = even.and(&third).expect("one shape");
        assert_eq!(both.is_subset_of(&even), Ok(true));
        assert_eq!(both.is_subset_of(&third), Ok(true));
        assert_eq!(even.is_subset_of(&third), Ok(false));
        let other = Mask::from_fn(3, 49, |_, _| true);
        assert_eq!(
            even.and(&other).expect_err("49 is not 50").to_string(),
            "masks of 3 x 50 and 3 x 49; both must have one shape"
        );
        assert!(even.is_subset_of(&other).is_err());
    }

    #[test]
    fn a_unit_s_bit_is_every_element_s_bit() {
        let units = Units {
            rows: 2,
            columns: 3,
        };
        let blocks = Mask::from_fn(2, 2, |row, column| row != column);
        let mask = blocks.expand(3, 5, units).expect("2 by 2 units");
        assert_eq!(mask.words(), [0b11000, 0b11000, 0b00111]);
        assert!(blocks.expand(5, 5, units).is_err());
    }
}
