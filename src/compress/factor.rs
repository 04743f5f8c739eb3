//! Cholesky factors in f64: plain loops in a fixed order, so that the same matrix gives the same bits
//! everywhere.
//!
//! GPTQ and SparseGPT need the upper triangular `U` with `inverse(H) = U^T U`. It is had without an
//! inverse: with `H = M M^T`, `M` *upper* triangular, `inverse(H) = M^-T M^-1`, so `U = M^-1`. And `M` is
//! the ordinary lower factor of `H` with rows and columns in reverse order, reversed back. That is half
//! of the work of factor, inverse, factor, and one rounding error less to carry.
//!
//! Rows are taken [`ROWS`] at a time against one other row, which changes the traffic and not the sums.

/// Rows worked on together: 32 rows of 4096 columns are 1 MB, a second-level cache.
const ROWS: usize = 32;

/// Partial sums of a dot product. Fixed, because it decides the order of summation.
const LANES: usize = 8;

/// Where a factorization stopped: the pivot is not a positive number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Stopped {
    pub column: usize,
    pub pivot: f64,
}

/// `sum a_i b_i` over the shorter of both, in eight interleaved partial sums.
pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut lanes = [0.0; LANES];
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let tail: f64 = {
        let length = a.len().min(b.len());
        let start = length / LANES * LANES;
        a[start..length]
            .iter()
            .zip(&b[start..length])
            .map(|(x, y)| x * y)
            .sum()
    };
    for (x, y) in a_chunks.zip(b_chunks) {
        for lane in 0..LANES {
            lanes[lane] += x[lane] * y[lane];
        }
    }
    lanes.iter().sum::<f64>() + tail
}

/// `into -= factor * row`.
pub(super) fn subtract_scaled(into: &mut [f64], factor: f64, row: &[f64]) {
    for (value, &other) in into.iter_mut().zip(row) {
        *value -= factor * other;
    }
}

/// Replaces the lower triangle of a symmetric `[k, k]` matrix by its Cholesky factor `L`, `A = L L^T`.
/// The upper triangle is not read and not written.
fn cholesky(a: &mut [f64], k: usize) -> Result<(), Stopped> {
    for start in (0..k).step_by(ROWS) {
        let end = (start + ROWS).min(k);
        let (above, block) = a.split_at_mut(start * k);
        for column in 0..end {
            // Row `column` is finished up to its diagonal when its turn comes.
            let done: Vec<f64> = if column < start {
                above[column * k..][..=column].to_vec()
            } else {
                let row = &mut block[(column - start) * k..][..=column];
                let pivot = row[column] - dot(&row[..column], &row[..column]);
                if !(pivot > 0.0 && pivot.is_finite()) {
                    return Err(Stopped { column, pivot });
                }
                row[column] = pivot.sqrt();
                row.to_vec()
            };
            for row in start.max(column + 1)..end {
                let row = &mut block[(row - start) * k..][..=column];
                row[column] = (row[column] - dot(&row[..column], &done[..column])) / done[column];
            }
        }
    }
    Ok(())
}

/// The inverse of the lower triangular `l [k, k]`; the upper triangle of the result is zero.
fn invert_lower(l: &[f64], k: usize) -> Vec<f64> {
    let mut inverse = vec![0.0; k * k];
    for start in (0..k).step_by(ROWS) {
        let end = (start + ROWS).min(k);
        let (above, block) = inverse.split_at_mut(start * k);
        for row in start..end {
            block[(row - start) * k + row] = 1.0;
        }
        for column in 0..end {
            let done: Vec<f64> = if column < start {
                above[column * k..][..=column].to_vec()
            } else {
                let row = &mut block[(column - start) * k..][..=column];
                let diagonal = l[column * k + column];
                row.iter_mut().for_each(|value| *value /= diagonal);
                row.to_vec()
            };
            for row in start.max(column + 1)..end {
                let into = &mut block[(row - start) * k..][..=column];
                subtract_scaled(into, l[row * k + column], &done);
            }
        }
    }
    inverse
}

/// The upper triangular `U [k, k]` with `inverse(H) = U^T U`, of a symmetric `h [k, k]`. Its diagonal is
/// positive.
pub(super) fn inverse_upper(h: &[f64], k: usize) -> Result<Vec<f64>, Stopped> {
    // Reversing rows and columns of a row-major square is reversing the array.
    let mut reversed: Vec<f64> = h.iter().rev().copied().collect();
    cholesky(&mut reversed, k).map_err(|stopped| Stopped {
        column: k - 1 - stopped.column,
        ..stopped
    })?;
    let mut inverse = invert_lower(&reversed, k);
    inverse.reverse();
    Ok(inverse)
}

/// `tr(D H D^T)` of `d [n, k]` and a symmetric `h [k, k]`: the sum over rows of `d H d^T`.
pub(super) fn quadratic(d: &[f64], h: &[f64], k: usize) -> f64 {
    let mut total = 0.0;
    for rows in d.chunks(ROWS * k.max(1)) {
        let mut sums = [0.0; ROWS];
        for (column, h_row) in h.chunks_exact(k.max(1)).enumerate() {
            for (sum, row) in sums.iter_mut().zip(rows.chunks_exact(k)) {
                if row[column] != 0.0 {
                    *sum += row[column] * dot(h_row, row);
                }
            }
        }
        total += sums.iter().sum::<f64>();
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::Philox;

    /// `A A^T + 0.1 I` of random `A`.
    fn positive(k: usize) -> Vec<f64> {
        let mut stream = Philox::new(11).stream(k as u64);
        let a: Vec<f64> = (0..k * k).map(|_| f64::from(stream.normal())).collect();
        let mut h = vec![0.0; k * k];
        for row in 0..k {
            for column in 0..k {
                h[row * k + column] = dot(&a[row * k..][..k], &a[column * k..][..k]);
            }
            h[row * k + row] += 0.1;
        }
        h
    }

    #[test]
    fn the_upper_factor_of_the_inverse_is_one() {
        for k in [1, 2, 7, 31, 32, 33, 70] {
            let h = positive(k);
            let u = inverse_upper(&h, k).expect("positive definite");
            let mut worst = 0f64;
            for row in 0..k {
                for column in 0..row {
                    assert_eq!(u[row * k + column], 0.0, "upper triangular");
                }
                assert!(u[row * k + row] > 0.0);
            }
            // H U^T U is the identity.
            let mut inverse = vec![0.0; k * k];
            for row in 0..k {
                for column in 0..k {
                    inverse[row * k + column] =
                        (0..k).map(|i| u[i * k + row] * u[i * k + column]).sum();
                }
            }
            for row in 0..k {
                for column in 0..k {
                    let product = dot(&h[row * k..][..k], &inverse[column * k..][..k]);
                    let expected = f64::from(u8::from(row == column));
                    worst = worst.max((product - expected).abs());
                }
            }
            // The condition number is below 1e5 here; 1e-16 times it, times k.
            assert!(worst < 1e-9, "k {k}: {worst:e}");
        }
    }

    #[test]
    fn a_diagonal_matrix_has_no_entry_off_the_diagonal() {
        let k = 40;
        let mut h = vec![0.0; k * k];
        (0..k).for_each(|i| h[i * k + i] = 4.0);
        let u = inverse_upper(&h, k).expect("positive definite");
        for (index, &value) in u.iter().enumerate() {
            let expected = if index % (k + 1) == 0 { 0.5 } else { 0.0 };
            assert_eq!(value, expected);
        }
    }

    #[test]
    fn says_where_a_matrix_is_not_positive_definite() {
        let mut h = positive(35);
        h[3 * 35 + 3] = -1.0;
        assert_eq!(inverse_upper(&h, 35).expect_err("negative").column, 3);
        h[3 * 35 + 3] = f64::NAN;
        assert!(inverse_upper(&h, 35).is_err());
    }

    #[test]
    fn the_quadratic_form_is_the_double_sum() {
        let (n, k) = (37, 19);
        let h = positive(k);
        let mut stream = Philox::new(3).stream(0);
        let d: Vec<f64> = (0..n * k).map(|_| f64::from(stream.normal())).collect();
        let mut expected = 0.0;
        for row in d.chunks_exact(k) {
            for i in 0..k {
                for j in 0..k {
                    expected += row[i] * h[i * k + j] * row[j];
                }
            }
        }
        let found = quadratic(&d, &h, k);
        assert!((found / expected - 1.0).abs() < 1e-12, "{found} {expected}");
    }
}
