//! Codes as a stream of bits of their own [`Width`], without padding.

use crate::compress::CompressError;
use crate::num::Width;

/// Packs signed codes as one little-endian stream of `code - min`, `bits` each, the first in the lowest
/// bits of the first byte; unused bits of the last byte are zero.
///
/// For 2, 4 and 8 bits this is the order within a word of GPTQ and compressed-tensors; for 3 bits that
/// of GPTQ, 32 codes in 96 bits.
///
/// # Errors
/// [`CompressError::Packed`] naming `tensor` for a code outside the width.
pub fn pack_codes(tensor: &str, width: Width, codes: &[i32]) -> Result<Vec<u8>, CompressError> {
    let bits = width.bits() as usize;
    let mut bytes = vec![0u8; (codes.len() * bits).div_ceil(8)];
    for (index, &code) in codes.iter().enumerate() {
        if !(width.min()..=width.max()).contains(&code) {
            return Err(CompressError::Packed {
                tensor: tensor.to_owned(),
                problem: format!(
                    "code {code} at {index} is outside {}..={}, the range of {width}",
                    width.min(),
                    width.max()
                ),
            });
        }
        let field = u16::from((code - width.min()) as u8) << (index * bits % 8);
        let byte = index * bits / 8;
        bytes[byte] |= field as u8;
        if field > 0xff {
            bytes[byte + 1] |= (field >> 8) as u8;
        }
    }
    Ok(bytes)
}

/// The `count` codes that [`pack_codes`] packed.
///
/// # Errors
/// [`CompressError`] naming `tensor` for another number of bytes than the codes take, and for bits set
/// after the last code.
pub fn unpack_codes(
    tensor: &str,
    width: Width,
    count: usize,
    bytes: &[u8],
) -> Result<Vec<i32>, CompressError> {
    let bits = width.bits() as usize;
    let expected = count.saturating_mul(bits).div_ceil(8);
    CompressError::check_len(tensor, "bytes of packed codes", bytes.len(), expected)?;
    let used = count * bits % 8;
    if let Some(last) = bytes.last()
        && used != 0
        && last >> used != 0
    {
        return Err(CompressError::Packed {
            tensor: tensor.to_owned(),
            problem: format!("bits are set after the last of {count} {width} codes"),
        });
    }
    let code = |index: usize| {
        let byte = index * bits / 8;
        let high = bytes.get(byte + 1).copied().unwrap_or(0);
        let pair = u16::from_le_bytes([bytes[byte], high]);
        let field = pair >> (index * bits % 8) & ((1 << bits) - 1);
        i32::from(field) + width.min()
    };
    Ok((0..count).map(code).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::Philox;

    #[test]
    fn every_width_packs_and_unpacks_at_every_length() {
        for width in Width::ALL {
            let mut stream = Philox::new(1).stream(u64::from(width.bits()));
            for count in 0..40 {
                let codes: Vec<i32> = (0..count)
                    .map(|_| stream.integer(width.min()..=width.max()))
                    .collect();
                let bytes = pack_codes("w", width, &codes).expect("in range");
                assert_eq!(bytes.len(), (count * width.bits() as usize).div_ceil(8));
                assert_eq!(unpack_codes("w", width, count, &bytes), Ok(codes));
            }
        }
    }

    #[test]
    fn golden_three_bit_words_are_those_of_gptq() {
        // Codes 0..=7 four times. Word 0 holds c0..c9 at bits 3i and the low 2 bits of c10 at bit 30.
        let codes: Vec<i32> = (0..32).map(|index| index % 8 - 4).collect();
        let bytes = pack_codes("w", Width::Int3, &codes).expect("in range");
        let word = |index: usize| {
            let bytes: [u8; 4] = bytes[4 * index..][..4].try_into().expect("four bytes");
            u32::from_le_bytes(bytes)
        };
        let first = (0..10).fold(0, |word, i| word | (i % 8) << (3 * i)) | (10 % 8) << 30;
        assert_eq!(word(0), first);
        // Word 1: bit 2 of c10, c11..c20 at bits 3i + 1, the low bit of c21 at bit 31.
        let second = (0..10).fold(0, |word, i| word | ((11 + i) % 8) << (3 * i + 1)) | 1 << 31;
        assert_eq!(word(1), second);
        // Word 2: the top 2 bits of c21, c22..c31 at bits 3i + 2.
        let third = (0..10).fold((21 % 8) >> 1, |word, i| {
            word | ((22 + i) % 8) << (3 * i + 2)
        });
        assert_eq!(word(2), third);
    }

    #[test]
    fn refuses_codes_and_bytes_that_do_not_fit() {
        assert_eq!(
            pack_codes("w", Width::Int2, &[0, 2])
                .unwrap_err()
                .to_string(),
            "w: code 2 at 1 is outside -2..=1, the range of int2"
        );
        assert!(unpack_codes("w", Width::Int3, 3, &[0]).is_err());
        assert!(unpack_codes("w", Width::Int3, 2, &[0x40]).is_err());
        assert!(unpack_codes("w", Width::Int3, 2, &[0x3f]).is_ok());
    }
}
