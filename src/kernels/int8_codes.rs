//! Results of the integer products as int8 codes for a next one: definition and bound, in `int8_product.rs`.

use crate::record::{Bound, HostOperands, HostResults, Output, Values};

use super::bounds::U;
use super::epilogue::OUT;
use super::int8_product::{CODE_SCALE, Int8Launch, Sum};
use super::quantize_rows::code;

impl Int8Launch {
    /// Bytes of a row of the whole output.
    pub(super) fn out_row_bytes(&self) -> u64 {
        if self.shape.codes {
            4 * u64::from(self.shape.coded_rows(self.out_stride).row_words())
        } else {
            u64::from(self.out_stride) * self.shape.out.bytes()
        }
    }

    /// One value per code of the output, padding included, from a function of each element's index and sum.
    fn per_code<T: Copy + Default>(
        &self,
        operands: &HostOperands<'_>,
        of: impl Fn(usize, Sum) -> T,
    ) -> Vec<T> {
        let (m, n) = (self.shape.m as usize, self.shape.n as usize);
        let padded = 4 * self.shape.coded_rows(self.shape.n).row_words() as usize;
        let mut values = vec![T::default(); m * padded];
        self.for_each_sum(operands, |index, sum| {
            values[index / n * padded + index % n] = of(index, sum);
        });
        values
    }

    /// The definition.
    pub(super) fn codes(&self, operands: &HostOperands<'_>) -> Output {
        let (epilogue, columns) = (self.shape.epilogue, self.shape.n as usize);
        let reciprocal = f64::from(operands.f32(CODE_SCALE)[1]);
        let values = self.per_code(operands, |index, sum| {
            code(epilogue.apply(operands, index, columns, sum.value) * reciprocal)
        });
        Output::new(OUT, Values::I8(values))
    }

    /// The bound, of results within `error` before they are codes.
    pub(super) fn code_bound(
        &self,
        operands: &HostOperands<'_>,
        error: impl Fn(usize, Sum) -> f64,
    ) -> Bound {
        let (epilogue, columns) = (self.shape.epilogue, self.shape.n as usize);
        let reciprocal = f64::from(operands.f32(CODE_SCALE)[1]);
        Bound::Steps(self.per_code(operands, |index, sum| {
            let y = epilogue.apply(operands, index, columns, sum.value);
            code_steps(y, error(index, sum), reciprocal)
        }))
    }

    /// Stores results `y [m, n]` of a host as codes.
    pub(super) fn store_codes(
        &self,
        operands: &HostOperands<'_>,
        y: &[f32],
        results: &mut HostResults<'_>,
    ) {
        let reciprocal = operands.f32(CODE_SCALE)[1];
        let (m, n) = (self.shape.m as usize, self.shape.n as usize);
        let words = self.shape.coded_rows(self.shape.n).row_words() as usize;
        let out = results.words(OUT)[..m * words].chunks_exact_mut(words);
        for (out, y) in out.zip(y.chunks_exact(n)) {
            out.fill(0);
            for (at, &y) in y.iter().enumerate() {
                let code = code(f64::from(y * reciprocal));
                out[at / 4] |= u32::from(code as u8) << (8 * (at % 4));
            }
        }
    }
}

/// How far a device's code of an element may be from the definition's, whose result is within `error` of `y`.
fn code_steps(y: f64, error: f64, reciprocal: f64) -> u32 {
    let around = (error + U * (y.abs() + error)) * reciprocal.abs();
    let scaled = y * reciprocal;
    let at = i32::from(code(scaled));
    let (low, high) = (code(scaled - around), code(scaled + around));
    (i32::from(high) - at)
        .max(at - i32::from(low))
        .unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_may_differ_only_where_the_error_reaches_over_a_half() {
        // 2.25 / 0.5 = 4.5 is a half: a hair below is 4 as well, a hair above 5.
        assert_eq!(code_steps(2.25, 0.0, 2.0), 1);
        assert_eq!(code_steps(2.0, 0.0, 2.0), 0);
        assert_eq!(code_steps(2.0, 0.2, 2.0), 0);
        assert_eq!(code_steps(2.0, 0.3, 2.0), 1);
        assert_eq!(code_steps(2.0, 0.8, 2.0), 2);
        // Beyond the largest code nothing changes.
        assert_eq!(code_steps(200.0, 1.0, 2.0), 0);
        assert_eq!(code_steps(0.0, f64::INFINITY, 2.0), 127);
    }
}
