//! Shape of a quantized matrix and its packed words, bit for bit.
//!
//! * **int8**: word `w` of a row holds elements `4w .. 4w+3` in two's complement, low byte first.
//! * **int4**: codes are stored unsigned as `q + 8`. Word `w` of a row holds elements `8w .. 8w+7`:
//!   byte `j` (0..=3) has element `8w+j` in its low nibble and element `8w+4+j` in its high nibble.
//!   So `word & 0x0f0f0f0f` is one run of four consecutive elements and `(word >> 4) & 0x0f0f0f0f`
//!   the next, each ready to be used as four bytes.
//! * Each row is padded to a multiple of 4 words (16 bytes), so that a kernel may read vec4 words.
//!   Padding codes are the zero point of the row's last group (0 if symmetric), which decodes to
//!   weight 0 under that group's scale; a kernel that reads padding clamps its group index to the
//!   last group of the row.
//! * **Scales** are flat over `[n, groups_per_row]` (a single one for a tensor): an f32 bit pattern
//!   per word, or two f16 per word, low half first.
//! * **Zero points** are flat over the same shape, one signed byte each at either width, four per
//!   word, low byte first. A byte costs int4 four bits a group more than a nibble would and spares
//!   kernels the extra shift.
//!
//! * **Minima** take the place of zero points where a format has them, packed as the scales are. The code
//!   stored is the unsigned one minus `2^(b-1)`, so int4 nibbles are the unsigned codes. No padding code
//!   decodes to 0 then: padding is the code of the minimum, and a kernel that reads it must meet it with
//!   an activation of 0.
//!
//! Tails of the scale and zero point arrays are zero.

use super::error::QuantError;
use super::format::{Bits, Granularity};

/// Rows are padded to this many words, the 16 bytes of a vec4 load.
pub(in crate::num) const ROW_ALIGN_WORDS: usize = 4;

/// Checked dimensions: groups tile the rows, and the packed words can be addressed with a u32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub n: usize,
    pub k: usize,
    pub group_size: usize,
    pub n_scales: usize,
    pub row_stride_words: usize,
}

impl Shape {
    pub fn new(
        tensor: &str,
        n: usize,
        k: usize,
        bits: Bits,
        granularity: Granularity,
    ) -> Result<Self, QuantError> {
        let tensor = || tensor.to_owned();
        if n == 0 || k == 0 {
            return Err(QuantError::Empty {
                tensor: tensor(),
                n,
                k,
            });
        }
        let row_stride_words = row_stride_words(bits, k);
        let n_words = n.checked_mul(row_stride_words);
        if n_words.is_none_or(|words| u32::try_from(words).is_err()) {
            return Err(QuantError::TooLarge {
                tensor: tensor(),
                n,
                k,
            });
        }
        let (group_size, n_scales) = match granularity {
            Granularity::Tensor => (k, 1),
            Granularity::Channel => (k, n),
            Granularity::Group(size) => {
                let multiple = bits.per_word();
                let group_size = size as usize;
                if group_size == 0 || !group_size.is_multiple_of(multiple) {
                    return Err(QuantError::GroupSize {
                        tensor: tensor(),
                        group_size: size,
                        bits,
                        multiple,
                    });
                }
                if !k.is_multiple_of(group_size) {
                    return Err(QuantError::KNotMultipleOfGroup {
                        tensor: tensor(),
                        k,
                        group_size: size,
                    });
                }
                (group_size, n * (k / group_size))
            }
        };
        Ok(Self {
            n,
            k,
            group_size,
            n_scales,
            row_stride_words,
        })
    }

    /// Number of weights, or `usize::MAX`, which no slice has, where 32 bits cannot count them.
    pub fn n_weights(&self) -> usize {
        self.n.saturating_mul(self.k)
    }

    /// Flat index of the scale of an element. A tensor has one; otherwise rows have `k /
    /// group_size` each.
    pub fn scale_index(&self, row: usize, column: usize) -> usize {
        if self.n_scales == 1 {
            return 0;
        }
        row * (self.k / self.group_size) + column / self.group_size
    }

    /// Refuses an array of the wrong length.
    pub fn check_len(
        &self,
        tensor: &str,
        what: &'static str,
        found: usize,
        expected: usize,
    ) -> Result<(), QuantError> {
        if found == expected {
            return Ok(());
        }
        Err(QuantError::WrongLength {
            tensor: tensor.to_owned(),
            what,
            found,
            expected,
            n: self.n,
            k: self.k,
        })
    }
}

/// Refuses NaN and infinities in a `[rows, k]` array.
pub(super) fn check_finite(tensor: &str, values: &[f32], k: usize) -> Result<(), QuantError> {
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(index) => Err(QuantError::NotFinite {
            tensor: tensor.to_owned(),
            value: values[index],
            index,
            row: index / k,
            column: index % k,
        }),
    }
}

/// Words from one row to the next.
pub(super) fn row_stride_words(bits: Bits, k: usize) -> usize {
    k.div_ceil(bits.per_word())
        .next_multiple_of(ROW_ALIGN_WORDS)
}

/// Packs one row of signed codes into `words`, filling what is left with `padding`.
pub(super) fn pack_row(bits: Bits, codes: &[i8], padding: i8, words: &mut [u32]) {
    let per_word = bits.per_word();
    for (word_index, word) in words.iter_mut().enumerate() {
        let code = |i: usize| {
            codes
                .get(word_index * per_word + i)
                .copied()
                .unwrap_or(padding)
        };
        *word = (0..per_word).fold(0, |word, i| word | place_code(bits, i, code(i)));
    }
}

/// The signed code of element `index` of a packed row.
pub(super) fn read_code(bits: Bits, row: &[u32], index: usize) -> i32 {
    let per_word = bits.per_word();
    let field = row[index / per_word] >> shift_of(bits, index % per_word);
    match bits {
        Bits::Int8 => i32::from(field as u8 as i8),
        Bits::Int4 => (field & 0xf) as i32 - 8,
    }
}

/// Packs signed bytes four to a word, low byte first, with a zero tail.
pub(super) fn pack_bytes(bytes: impl ExactSizeIterator<Item = i8>) -> Vec<u32> {
    let mut words = vec![0; bytes.len().div_ceil(4)];
    for (index, byte) in bytes.enumerate() {
        words[index / 4] |= place_code(Bits::Int8, index % 4, byte);
    }
    words
}

/// Element `i` of a word, in place.
fn place_code(bits: Bits, i: usize, code: i8) -> u32 {
    let field = match bits {
        Bits::Int8 => u32::from(code as u8),
        Bits::Int4 => (i32::from(code) + 8) as u32 & 0xf,
    };
    field << shift_of(bits, i)
}

/// Lowest bit of element `i` of a word.
fn shift_of(bits: Bits, i: usize) -> usize {
    match bits {
        Bits::Int8 => 8 * i,
        Bits::Int4 => 8 * (i % 4) + 4 * (i / 4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn int8_words_are_twos_complement_low_byte_first() {
        let mut words = [0xffff_ffff; 4];
        pack_row(Bits::Int8, &[1, -1, -128, 127, 5], 0, &mut words);
        assert_eq!(words, [0x7f80_ff01, 0x0000_0005, 0, 0]);
    }

    #[test]
    fn int4_words_hold_two_runs_of_four_offset_nibbles() {
        let mut words = [0; 4];
        pack_row(
            Bits::Int4,
            &[-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7, -8],
            0,
            &mut words,
        );
        assert_eq!(words, [0x7362_5140, 0xfbea_d9c8, 0x8888_8880, 0x8888_8888]);
        assert_eq!(
            words[0] & 0x0f0f_0f0f,
            0x0302_0100,
            "elements 0..4 as bytes"
        );
        assert_eq!(
            (words[0] >> 4) & 0x0f0f_0f0f,
            0x0706_0504,
            "elements 4..8 as bytes"
        );
    }

    #[test]
    fn padding_takes_the_code_it_is_given() {
        let mut words = [0; 4];
        pack_row(Bits::Int4, &[0], -8, &mut words);
        assert_eq!(words, [0x0000_0008, 0, 0, 0]);
        pack_row(Bits::Int8, &[0], -3, &mut words);
        assert_eq!(words, [0xfdfd_fd00, 0xfdfd_fdfd, 0xfdfd_fdfd, 0xfdfd_fdfd]);
    }

    #[test]
    fn every_code_is_read_back_from_every_place() {
        for bits in [Bits::Int8, Bits::Int4] {
            let codes: Vec<i8> = (bits.min()..=bits.max()).map(|q| q as i8).collect();
            for rotation in 0..bits.per_word() {
                let mut rotated = codes.clone();
                rotated.rotate_left(rotation);
                let mut words = vec![0; row_stride_words(bits, codes.len())];
                pack_row(bits, &rotated, 0, &mut words);
                for (index, &code) in rotated.iter().enumerate() {
                    assert_eq!(read_code(bits, &words, index), i32::from(code));
                }
            }
        }
    }

    #[test]
    fn rows_are_padded_to_sixteen_bytes() {
        let strides = |bits, ks: [usize; 4]| ks.map(|k| row_stride_words(bits, k));
        assert_eq!(strides(Bits::Int8, [1, 16, 17, 64]), [4, 4, 8, 16]);
        assert_eq!(strides(Bits::Int4, [1, 32, 33, 64]), [4, 4, 8, 8]);
    }

    #[test]
    fn bytes_are_packed_low_first_with_a_zero_tail() {
        let bytes = [-1i8, 2, -128, 4, 5];
        assert_eq!(pack_bytes(bytes.into_iter()), [0x0480_02ff, 0x0000_0005]);
    }

    #[test]
    fn refuses_shapes_a_u32_cannot_address() {
        let shape = |n, k| Shape::new("w", n, k, Bits::Int4, Granularity::Channel);
        assert!(shape(1 << 28, 512).is_err());
        assert!(
            shape((1 << 28) - 1, 128).is_ok(),
            "16 words a row, one row short of 2^32 words"
        );
        assert!(matches!(
            shape(usize::MAX, 8),
            Err(QuantError::TooLarge { .. })
        ));
        assert!(matches!(
            shape(8, usize::MAX),
            Err(QuantError::TooLarge { .. })
        ));
    }
}
