//! Unsigned fields of 1, 2, 4 or 8 bits in 32-bit words, the first in the lowest bits.

/// Words that hold `count` fields.
pub(super) fn field_words(bits: u32, count: usize) -> usize {
    count.div_ceil(32 / bits as usize)
}

/// Field `index`.
pub(super) fn read_field(words: &[u32], bits: u32, index: usize) -> u32 {
    let per_word = 32 / bits as usize;
    let field = words[index / per_word] >> (bits * (index % per_word) as u32);
    field & ((1 << bits) - 1)
}

/// Sets field `index`, which must be zero.
pub(super) fn write_field(words: &mut [u32], bits: u32, index: usize, value: u32) {
    debug_assert!(value < 1 << bits, "{value} has more than {bits} bits");
    let per_word = 32 / bits as usize;
    words[index / per_word] |= value << (bits * (index % per_word) as u32);
}

/// The first word after `count` fields with a bit set, if any.
pub(super) fn first_set_after(words: &[u32], bits: u32, count: usize) -> Option<usize> {
    let per_word = 32 / bits as usize;
    let used = |index: usize| count.saturating_sub(index * per_word).min(per_word) as u32 * bits;
    let is_set = |(index, &word): (usize, &u32)| word.checked_shr(used(index)).unwrap_or(0) != 0;
    words.iter().enumerate().position(is_set)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_fill_words_from_the_lowest_bit() {
        for bits in [1, 2, 4, 8] {
            let count = 3 * 32 / bits as usize + 1;
            let value = |index: usize| (index as u32 * 7 + 3) & ((1 << bits) - 1);
            let mut words = vec![0; field_words(bits, count)];
            (0..count).for_each(|index| write_field(&mut words, bits, index, value(index)));
            assert_eq!(words.len(), 4);
            (0..count).for_each(|index| assert_eq!(read_field(&words, bits, index), value(index)));
        }
        let mut words = [0];
        for (index, value) in [1, 2, 3, 0xf].into_iter().enumerate() {
            write_field(&mut words, 4, index, value);
        }
        assert_eq!(words, [0xf321]);
    }

    #[test]
    fn a_bit_after_the_last_field_is_found() {
        assert_eq!(first_set_after(&[0xffff_ffff, 0x3], 2, 17), None);
        assert_eq!(first_set_after(&[0xffff_ffff, 0x7], 2, 17), Some(1));
        assert_eq!(first_set_after(&[0xffff_ffff, 0], 2, 15), Some(0));
        assert_eq!(first_set_after(&[0, 0, 1], 2, 17), Some(2));
    }
}
