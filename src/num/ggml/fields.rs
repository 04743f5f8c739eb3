//! The fields of one block, as integers and exact floats. Decoding and repacking read the same ones.
//!
//! Block functions take the bytes of one block, whose length the callers have checked.

use half::f16;

/// The f16 at byte `at`.
pub(super) fn f16_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// Thirty-two codes of four bits: byte `j` holds element `j` low and element `j + 16` high.
pub(super) fn nibbles32(bytes: &[u8]) -> [u8; 32] {
    std::array::from_fn(|i| (bytes[i % 16] >> (4 * (i / 16))) & 15)
}

/// Thirty-two codes of five bits: the nibbles, and a word of fifth bits, bit `i` for element `i`.
pub(super) fn fives32(block: &[u8], at: usize) -> [u8; 32] {
    let high = u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]]);
    let low = nibbles32(&block[at + 4..at + 20]);
    std::array::from_fn(|i| low[i] | (((high >> i) & 1) as u8) << 4)
}

/// Scale and minimum of sub-block `j` of a Q4_K or Q5_K block: six bits each, packed in twelve bytes.
fn scale_min(packed: &[u8], j: usize) -> (u8, u8) {
    if j < 4 {
        (packed[j] & 63, packed[j + 4] & 63)
    } else {
        (
            (packed[j + 4] & 15) | (packed[j - 4] >> 6) << 4,
            (packed[j + 4] >> 4) | (packed[j] >> 6) << 4,
        )
    }
}

/// A Q4_K or Q5_K block: 256 codes, and what a sub-block of 32 multiplies and adds.
pub(super) struct KBlock {
    pub codes: [u8; 256],
    /// `d * s`, exact.
    pub scales: [f32; 8],
    /// `-(dmin * m)`, exact.
    pub minima: [f32; 8],
}

impl KBlock {
    pub fn q4(block: &[u8]) -> Self {
        Self::new(block, |i| nibble_of_64(&block[16..], i))
    }

    pub fn q5(block: &[u8]) -> Self {
        // Bit j of byte l is the fifth bit of element l of sub-block j.
        Self::new(block, |i| {
            nibble_of_64(&block[48..], i) | ((block[16 + i % 32] >> (i / 32)) & 1) << 4
        })
    }

    fn new(block: &[u8], code: impl Fn(usize) -> u8) -> Self {
        let (d, dmin) = (f16_at(block, 0), f16_at(block, 2));
        let packed = &block[4..16];
        Self {
            codes: std::array::from_fn(code),
            scales: std::array::from_fn(|j| d * f32::from(scale_min(packed, j).0)),
            minima: std::array::from_fn(|j| -(dmin * f32::from(scale_min(packed, j).1))),
        }
    }
}

/// Every 64 elements share 32 bytes: low nibbles are the first 32, high nibbles the next.
fn nibble_of_64(bytes: &[u8], i: usize) -> u8 {
    (bytes[i / 64 * 32 + i % 32] >> (4 * (i / 32 % 2))) & 15
}

/// A Q6_K block: 256 signed codes and a scale per 16.
pub(super) struct Q6Block {
    /// `q - 32`.
    pub codes: [i8; 256],
    /// `d * s`, exact.
    pub scales: [f32; 16],
}

impl Q6Block {
    pub fn new(block: &[u8]) -> Self {
        let d = f16_at(block, 208);
        let code = |i: usize| {
            // Halves of 128; within one, four runs of 32: low nibbles of two runs of bytes, then the
            // high nibbles of the same, and two more bits from one byte for all four.
            let (half, run, l) = (i / 128, i % 128 / 32, i % 32);
            let low = (block[64 * half + 32 * (run % 2) + l] >> (4 * (run / 2))) & 15;
            let high = (block[128 + 32 * half + l] >> (2 * run)) & 3;
            (low | high << 4) as i8 - 32
        };
        Self {
            codes: std::array::from_fn(code),
            scales: std::array::from_fn(|j| d * f32::from(block[192 + j] as i8)),
        }
    }
}
