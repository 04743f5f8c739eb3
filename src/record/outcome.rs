//! Results and how they are judged: reference values, allowed errors, and the comparison of the two
//! with what an adapter returned.

use half::{bf16, f16};

use crate::num::{round_to_bf16, round_to_f16};

/// Reference values of one output, as the type they are stored in.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// Real numbers stored as f32.
    F32(Vec<f64>),
    /// Real numbers stored as f16, two a word.
    F16(Vec<f64>),
    /// Real numbers stored as bf16, two a word.
    Bf16(Vec<f64>),
    /// 32-bit integers or bit patterns.
    Words(Vec<u32>),
    /// 32-bit signed integers.
    I32(Vec<i32>),
    /// 8-bit signed integers, four a word.
    I8(Vec<i8>),
}

/// One output operand of a launch.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// Binding number.
    pub binding: u32,
    /// Word of the binding that holds the first element.
    pub first_word: usize,
    /// The elements.
    pub values: Values,
}

/// Allowed error of one output, element by element.
#[derive(Debug, Clone, PartialEq)]
pub enum Bound {
    /// Bits must be equal.
    Exact,
    /// Absolute error allowed against the f64 reference.
    Absolute(Vec<f64>),
    /// Difference allowed between integers.
    Steps(Vec<u32>),
}

/// The element with the largest error over bound.
#[derive(Debug, Clone, PartialEq)]
pub struct Mismatch {
    /// Binding number of the output.
    pub binding: u32,
    /// Flat element index.
    pub index: usize,
    /// What the adapter returned.
    pub got: f64,
    /// What the reference says.
    pub expected: f64,
    /// Allowed absolute error.
    pub allowed: f64,
}

/// Outcome of comparing one launch's outputs.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Comparison {
    /// Elements compared.
    pub elements: usize,
    /// Elements whose stored bits equal the rounded reference.
    pub exact: usize,
    /// Largest error over bound; 0 when all bits are equal, infinite when an exact element differs.
    pub worst: f64,
    /// Where that was.
    pub place: Option<Mismatch>,
    /// The first element that is stored as an infinity although the reference is finite: its type cannot hold it.
    pub overflow: Option<Mismatch>,
}

impl Comparison {
    /// Whether every element is within its bound.
    pub fn passed(&self) -> bool {
        self.worst <= 1.0
    }

    /// Takes over the other comparison's counts and its worst element if that is worse.
    pub fn merge(&mut self, other: Self) {
        self.elements += other.elements;
        self.exact += other.exact;
        if other.worst > self.worst || self.place.is_none() {
            self.worst = self.worst.max(other.worst);
            self.place = other.place.or(self.place.take());
        }
        self.overflow = self.overflow.take().or(other.overflow);
    }
}

impl Output {
    /// Elements from the start of a binding.
    pub const fn new(binding: u32, values: Values) -> Self {
        Self {
            binding,
            first_word: 0,
            values,
        }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        match &self.values {
            Values::F32(values) | Values::F16(values) | Values::Bf16(values) => values.len(),
            Values::Words(values) => values.len(),
            Values::I32(values) => values.len(),
            Values::I8(values) => values.len(),
        }
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Rounds the values to their stored type and writes them to the binding's `words`.
    pub fn store(&self, words: &mut [u32]) {
        for index in 0..self.len() {
            let bits = self.bits(index);
            let per_word = 32 / self.width();
            let word = self.first_word + index / per_word;
            let shift = (index % per_word) * self.width();
            let mask = if self.width() == 32 {
                u32::MAX
            } else {
                ((1 << self.width()) - 1) << shift
            };
            words[word] = (words[word] & !mask) | (bits << shift) & mask;
        }
    }

    const fn width(&self) -> usize {
        match &self.values {
            Values::F32(_) | Values::Words(_) | Values::I32(_) => 32,
            Values::F16(_) | Values::Bf16(_) => 16,
            Values::I8(_) => 8,
        }
    }

    /// Bits of the element rounded to its stored type.
    fn bits(&self, index: usize) -> u32 {
        match &self.values {
            Values::F32(values) => (values[index] as f32).to_bits(),
            Values::F16(values) => u32::from(f16::from_f64(round_to_f16(values[index])).to_bits()),
            Values::Bf16(values) => {
                u32::from(bf16::from_f64(round_to_bf16(values[index])).to_bits())
            }
            Values::Words(values) => values[index],
            Values::I32(values) => values[index] as u32,
            Values::I8(values) => u32::from(values[index] as u8),
        }
    }

    fn expected(&self, index: usize) -> f64 {
        match &self.values {
            Values::F32(values) | Values::F16(values) | Values::Bf16(values) => values[index],
            Values::Words(values) => f64::from(values[index]),
            Values::I32(values) => f64::from(values[index]),
            Values::I8(values) => f64::from(values[index]),
        }
    }

    fn got_bits(&self, index: usize, words: &[u32]) -> u32 {
        let per_word = 32 / self.width();
        let shifted =
            words[self.first_word + index / per_word] >> ((index % per_word) * self.width());
        if self.width() == 32 {
            shifted
        } else {
            shifted & ((1 << self.width()) - 1)
        }
    }

    fn decode(&self, bits: u32) -> f64 {
        match &self.values {
            Values::F32(_) => f64::from(f32::from_bits(bits)),
            Values::F16(_) => f16::from_bits(bits as u16).to_f64(),
            Values::Bf16(_) => bf16::from_bits(bits as u16).to_f64(),
            Values::Words(_) => f64::from(bits),
            Values::I32(_) => f64::from(bits as i32),
            Values::I8(_) => f64::from(bits as u8 as i8),
        }
    }
}

/// Compares what an adapter stored with the reference, element by element.
///
/// # Panics
/// When `bound` has another length than `output`: a kernel's own bug.
pub fn compare(output: &Output, bound: &Bound, words: &[u32]) -> Comparison {
    let mut comparison = Comparison {
        elements: output.len(),
        ..Comparison::default()
    };
    for index in 0..output.len() {
        let got_bits = output.got_bits(index, words);
        let expected_bits = output.bits(index);
        let (got, expected) = (output.decode(got_bits), output.expected(index));
        let allowed = match bound {
            Bound::Exact => 0.0,
            Bound::Absolute(allowed) => allowed[index],
            Bound::Steps(allowed) => f64::from(allowed[index]),
        };
        if comparison.overflow.is_none() && got.is_infinite() && expected.is_finite() {
            comparison.overflow = Some(Mismatch {
                binding: output.binding,
                index,
                got,
                expected,
                allowed,
            });
        }
        // Both zeros are one value: WGSL does not promise the sign of zero.
        // Which of the NaNs a computation gives is not promised either.
        let same = got_bits == expected_bits
            || (got == 0.0 && output.decode(expected_bits) == 0.0)
            || (got.is_nan() && expected.is_nan() && !matches!(bound, Bound::Exact));
        if same {
            comparison.exact += 1;
            continue;
        }
        let error = (got - expected).abs();
        let ratio = if allowed > 0.0 && error.is_finite() {
            error / allowed
        } else {
            f64::INFINITY
        };
        if ratio > comparison.worst || comparison.place.is_none() {
            comparison.worst = ratio;
            comparison.place = Some(Mismatch {
                binding: output.binding,
                index,
                got,
                expected,
                allowed,
            });
        }
    }
    comparison
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_never_written_is_infinitely_wrong() {
        let output = Output::new(1, Values::F32(vec![1.0]));
        let comparison = compare(&output, &Bound::Absolute(vec![10.0]), &[f32::NAN.to_bits()]);
        assert!(!comparison.passed());
        assert_eq!(comparison.worst, f64::INFINITY);
    }

    #[test]
    fn an_error_is_judged_against_its_own_bound() {
        let output = Output::new(1, Values::F32(vec![1.0, 2.0]));
        let words = [1.5_f32.to_bits(), 2.5_f32.to_bits()];
        let comparison = compare(&output, &Bound::Absolute(vec![1.0, 0.25]), &words);
        assert_eq!(comparison.worst, 2.0);
        assert_eq!(
            comparison.place.expect("the second element is off").index,
            1
        );
    }

    #[test]
    fn exact_outputs_compare_bits() {
        let output = Output::new(1, Values::I8(vec![-128, 127, 0, 1]));
        let comparison = compare(&output, &Bound::Exact, &[0x0100_7f80]);
        assert_eq!((comparison.exact, comparison.worst), (4, 0.0));
        let off = compare(&output, &Bound::Exact, &[0x0200_7f80]);
        assert!(!off.passed());
        assert!(compare(&output, &Bound::Steps(vec![0, 0, 0, 1]), &[0x0200_7f80]).passed());
    }

    #[test]
    fn an_overflow_is_named_where_it_arises_and_not_where_it_is_passed_on() {
        let infinities = [0x7c00_3c00];
        let arises = Output::new(1, Values::F16(vec![1.0, 65520.0]));
        let found = compare(&arises, &Bound::Exact, &infinities);
        assert!(found.passed());
        let place = found.overflow.expect("65520 is no f16");
        assert_eq!((place.index, place.expected), (1, 65520.0));
        let passed_on = Output::new(1, Values::F16(vec![1.0, f64::INFINITY]));
        assert_eq!(
            compare(&passed_on, &Bound::Exact, &infinities).overflow,
            None
        );
        let held = Output::new(1, Values::F16(vec![1.0, 65519.0]));
        assert_eq!(compare(&held, &Bound::Exact, &[0x7bff_3c00]).overflow, None);
    }

    #[test]
    fn storing_then_reading_gives_the_rounded_value() {
        let output = Output::new(1, Values::F16(vec![1.0, 1.0 + 2f64.powi(-11), 65520.0]));
        let mut words = [u32::MAX; 2];
        output.store(&mut words);
        assert_eq!(words, [0x3c00_3c00, 0xffff_7c00]);
        assert_eq!(compare(&output, &Bound::Exact, &words).exact, 3);
    }
}
