//! Patterns: what is kept or dropped together, what is compared with what, and how much is kept.

use super::MaskError;

/// Largest block, in elements: its sum is one invocation's loop.
pub const MAX_BLOCK: usize = 4096;

/// Largest M of an N:M pattern.
pub const MAX_GROUP: usize = 256;

/// Rows that may share the indices of an N:M pattern.
pub const VECTORS: [usize; 4] = [1, 8, 16, 32];

/// Sums over whole rows and columns are taken in strips of this many, then over the strips' sums
/// likewise, until one is left.
pub const STRIP: usize = 64;

/// How much is kept of what is compared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Amount {
    /// This many.
    Keep(usize),
    /// All but `round(sparsity * count)`, ties to even, as `torch.nn.utils.prune` counts.
    Sparsity(f64),
}

impl Amount {
    /// How many of `count` are kept; `tensor` and `what` are for the message.
    ///
    /// # Errors
    /// [`MaskError::Keep`] for more than there are, [`MaskError::Sparsity`] outside 0 to 1.
    pub fn kept(self, tensor: &str, what: &'static str, count: usize) -> Result<usize, MaskError> {
        match self {
            Self::Keep(keep) if keep > count => Err(MaskError::Keep {
                tensor: tensor.to_owned(),
                keep,
                count,
                what,
            }),
            Self::Keep(keep) => Ok(keep),
            Self::Sparsity(sparsity) if !(0.0..=1.0).contains(&sparsity) => {
                Err(MaskError::Sparsity {
                    tensor: tensor.to_owned(),
                    sparsity,
                })
            }
            Self::Sparsity(sparsity) => {
                Ok(count - (sparsity * count as f64).round_ties_even() as usize)
            }
        }
    }
}

/// Extents of a unit: what is kept or dropped together. Units at the edges are shorter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Units {
    /// Rows of a unit.
    pub rows: usize,
    /// Columns of a unit.
    pub columns: usize,
}

impl Units {
    /// Every element by itself.
    pub const ELEMENTS: Self = Self {
        rows: 1,
        columns: 1,
    };

    /// Rows and columns of units in a matrix of `n` by `k`.
    #[must_use]
    pub const fn count(self, n: usize, k: usize) -> [usize; 2] {
        [n.div_ceil(self.rows), k.div_ceil(self.columns)]
    }

    /// Refuses blocks that are empty or too large to be summed in one pass.
    ///
    /// # Errors
    /// [`MaskError::Block`].
    pub fn check_block(self, tensor: &str) -> Result<(), MaskError> {
        match self.rows.checked_mul(self.columns) {
            Some(1..=MAX_BLOCK) => Ok(()),
            Some(_) | None => Err(MaskError::Block {
                tensor: tensor.to_owned(),
                rows: self.rows,
                columns: self.columns,
            }),
        }
    }
}

/// Which weights of one matrix may be kept together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pattern {
    /// Elements, compared over the tensor.
    Tensor(Amount),
    /// Elements, compared within each row; the amount is of a row.
    PerRow(Amount),
    /// `keep` of each `group` elements along k. The elements of `vector` consecutive rows in a column
    /// are one unit: the rows share their indices. The last vector may be shorter.
    NOfM {
        /// N.
        keep: usize,
        /// M: at most [`MAX_GROUP`]; divides k.
        group: usize,
        /// One of [`VECTORS`].
        vector: usize,
    },
    /// Blocks, compared over the tensor; the amount is of blocks.
    Blocks(Units, Amount),
    /// Whole rows; the amount is of rows.
    Rows(Amount),
    /// Whole columns; the amount is of columns.
    Columns(Amount),
}

/// What is compared with what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contest {
    /// All units; this many are kept.
    All(usize),
    /// The units of each row; this many are kept of each.
    Row(usize),
    /// Each `group` neighbours of a row of units; `keep` are kept of each.
    Group {
        /// Kept.
        keep: usize,
        /// Neighbours.
        group: usize,
    },
}

impl Pattern {
    /// Extents of a unit in a matrix of `n` by `k`.
    #[must_use]
    pub const fn units(&self, n: usize, k: usize) -> Units {
        match *self {
            Self::Tensor(_) | Self::PerRow(_) => Units::ELEMENTS,
            Self::NOfM { vector, .. } => Units {
                rows: vector,
                columns: 1,
            },
            Self::Blocks(units, _) => units,
            Self::Rows(_) => Units {
                rows: 1,
                columns: k,
            },
            Self::Columns(_) => Units {
                rows: n,
                columns: 1,
            },
        }
    }

    /// The sums that turn the scores of elements into those of units, one after the other: each is
    /// [`super::unit_sums`] of the result before. Empty when units are elements; strips of [`STRIP`]
    /// for whole rows and columns.
    #[must_use]
    pub fn passes(&self, n: usize, k: usize) -> Vec<Units> {
        let units = self.units(n, k);
        let mut passes = Vec::new();
        match self {
            Self::Tensor(_) | Self::PerRow(_) => {}
            Self::NOfM { .. } | Self::Blocks(..) => passes.push(units),
            Self::Rows(_) | Self::Columns(_) => {
                let mut left = units;
                while left.rows > 1 || left.columns > 1 {
                    let pass = Units {
                        rows: left.rows.min(STRIP),
                        columns: left.columns.min(STRIP),
                    };
                    passes.push(pass);
                    let [rows, columns] = pass.count(left.rows, left.columns);
                    left = Units { rows, columns };
                }
            }
        }
        passes.retain(|&pass| pass != Units::ELEMENTS);
        passes
    }

    /// Checks the pattern against a matrix of `n` by `k` and says what is compared with what.
    ///
    /// # Errors
    /// [`MaskError`] when the pattern does not fit the shape.
    pub fn contest(&self, tensor: &str, n: usize, k: usize) -> Result<Contest, MaskError> {
        let elements = n.saturating_mul(k);
        if elements == 0 {
            return Err(MaskError::Empty {
                tensor: tensor.to_owned(),
                n,
                k,
            });
        }
        if u32::try_from(elements).is_err() {
            return Err(MaskError::TooLarge {
                tensor: tensor.to_owned(),
                count: elements,
            });
        }
        match *self {
            Self::Tensor(amount) => Ok(Contest::All(amount.kept(tensor, "elements", elements)?)),
            Self::PerRow(amount) => {
                Ok(Contest::Row(amount.kept(tensor, "elements of a row", k)?))
            }
            Self::NOfM {
                keep,
                group,
                vector,
            } => {
                if !VECTORS.contains(&vector) {
                    return Err(MaskError::Vector {
                        tensor: tensor.to_owned(),
                        rows: vector,
                    });
                }
                if group == 0 || group > MAX_GROUP || keep > group || !k.is_multiple_of(group) {
                    return Err(MaskError::Group {
                        tensor: tensor.to_owned(),
                        keep,
                        group,
                        k,
                    });
                }
                Ok(Contest::Group { keep, group })
            }
            Self::Blocks(units, amount) => {
                units.check_block(tensor)?;
                let [rows, columns] = units.count(n, k);
                Ok(Contest::All(amount.kept(
                    tensor,
                    "blocks",
                    rows * columns,
                )?))
            }
            Self::Rows(amount) => Ok(Contest::All(amount.kept(tensor, "rows", n)?)),
            Self::Columns(amount) => Ok(Contest::All(amount.kept(tensor, "columns", k)?)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_rounded_to_even_and_then_taken_away() {
        let kept = |sparsity, count| Amount::Sparsity(sparsity).kept("w", "elements", count);
        // round(0.5 * 5) = 2, round(0.5 * 7) = 4, round(0.25 * 10) = 2.
        assert_eq!(kept(0.5, 5), Ok(3));
        assert_eq!(kept(0.5, 7), Ok(3));
        assert_eq!(kept(0.25, 10), Ok(8));
        assert_eq!(kept(0.0, 9), Ok(9));
        assert_eq!(kept(1.0, 9), Ok(0));
    }

    #[test]
    fn amounts_out_of_range_are_refused_by_name() {
        let error = Amount::Sparsity(1.5)
            .kept("w", "rows", 4)
            .expect_err("over 1");
        assert_eq!(error.to_string(), "w: sparsity 1.5; allowed: 0 to 1");
        assert!(Amount::Sparsity(f64::NAN).kept("w", "rows", 4).is_err());
        let error = Amount::Keep(5).kept("w", "rows", 4).expect_err("5 of 4");
        assert_eq!(
            error.to_string(),
            "w: 5 to keep of 4 rows; at most 4 can be"
        );
    }

    #[test]
    fn long_rows_are_summed_in_strips_until_one_sum_is_left() {
        let rows = Pattern::Rows(Amount::Keep(1));
        let strip = |columns| Units { rows: 1, columns };
        assert_eq!(rows.passes(7, 1), []);
        assert_eq!(rows.passes(7, 64), [strip(64)]);
        assert_eq!(rows.passes(7, 100), [strip(64), strip(2)]);
        assert_eq!(rows.passes(7, 5000), [strip(64), strip(64), strip(2)]);
        let columns = Pattern::Columns(Amount::Keep(1));
        let tall = |rows| Units { rows, columns: 1 };
        assert_eq!(columns.passes(4096, 7), [tall(64), tall(64)]);
    }

    #[test]
    fn patterns_that_do_not_fit_are_refused_with_what_is_allowed() {
        let n_of_m = |keep, group, vector| Pattern::NOfM {
            keep,
            group,
            vector,
        };
        let error = n_of_m(2, 4, 1).contest("w", 3, 10).expect_err("10 % 4");
        assert_eq!(
            error.to_string(),
            "w: 2 of each 4 along k = 10; allowed: at most 4 kept, groups of 1 to 256 that divide k"
        );
        assert!(n_of_m(5, 4, 1).contest("w", 3, 12).is_err());
        assert!(n_of_m(0, 0, 1).contest("w", 3, 12).is_err());
        let error = n_of_m(2, 4, 5).contest("w", 3, 12).expect_err("5 rows");
        assert_eq!(
            error.to_string(),
            "w: vectors of 5 rows; allowed: 1, 8, 16 or 32"
        );
        let blocks = |rows, columns| Pattern::Blocks(Units { rows, columns }, Amount::Keep(1));
        let error = blocks(65, 64).contest("w", 3, 12).expect_err("too large");
        assert_eq!(
            error.to_string(),
            "w: blocks of 65 x 64; allowed: 1 to 4096 elements"
        );
        assert!(blocks(0, 64).contest("w", 3, 12).is_err());
        assert!(blocks(usize::MAX, 64).contest("w", 3, 12).is_err());
        assert!(blocks(1, 1).contest("w", 0, 12).is_err());
        assert!(matches!(
            blocks(1, 1).contest("w", 1 << 20, 1 << 20),
            Err(MaskError::TooLarge { .. })
        ));
    }
}
