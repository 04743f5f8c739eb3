//! Blocks to floats.
//!
//! Each weight is its exact value rounded to f32 once, which is also what ggml's own f32 arithmetic gives:
//! every product in it is exact, and one addition or one last product rounds.

use half::{bf16, f16};

use super::fields::{KBlock, Q6Block, f16_at, fives32, nibbles32};
use super::{GgmlError, GgmlType};

/// The weights of `n` rows of `k`, row by row.
///
/// # Errors
/// [`GgmlError::RowLength`] and [`GgmlError::WrongLength`], naming `tensor`.
pub fn decode(
    tensor: &str,
    kind: GgmlType,
    bytes: &[u8],
    n: usize,
    k: usize,
) -> Result<Vec<f32>, GgmlError> {
    check_bytes(tensor, kind, bytes, n, k)?;
    let mut out = Vec::with_capacity(n * k);
    for block in bytes.chunks_exact(kind.block_bytes()) {
        decode_block(kind, block, &mut out);
    }
    Ok(out)
}

/// Refuses rows that blocks do not tile and data of another length than the shape needs.
pub(super) fn check_bytes(
    tensor: &str,
    kind: GgmlType,
    bytes: &[u8],
    n: usize,
    k: usize,
) -> Result<(), GgmlError> {
    check_row(tensor, kind, k)?;
    let expected = kind.bytes_of(n, k).unwrap_or(usize::MAX);
    if bytes.len() == expected {
        return Ok(());
    }
    Err(GgmlError::WrongLength {
        tensor: tensor.to_owned(),
        kind,
        what: "bytes",
        found: bytes.len(),
        expected,
        n,
        k,
    })
}

pub(super) fn check_row(tensor: &str, kind: GgmlType, k: usize) -> Result<(), GgmlError> {
    let block = kind.block_len();
    if k.is_multiple_of(block) {
        return Ok(());
    }
    let tensor = tensor.to_owned();
    Err(GgmlError::RowLength {
        tensor,
        kind,
        k,
        block,
    })
}

fn decode_block(kind: GgmlType, block: &[u8], out: &mut Vec<f32>) {
    match kind {
        GgmlType::F32 => out.push(f32::from_le_bytes([block[0], block[1], block[2], block[3]])),
        GgmlType::F16 => out.push(f16_at(block, 0)),
        GgmlType::Bf16 => out.push(bf16::from_le_bytes([block[0], block[1]]).to_f32()),
        GgmlType::Q4_0 => {
            let d = f16_at(block, 0);
            out.extend(nibbles32(&block[2..]).map(|q| d * (f32::from(q) - 8.0)));
        }
        GgmlType::Q4_1 => {
            let (d, m) = (f16_at(block, 0), f16_at(block, 2));
            out.extend(nibbles32(&block[4..]).map(|q| d * f32::from(q) + m));
        }
        GgmlType::Q5_0 => {
            let d = f16_at(block, 0);
            out.extend(fives32(block, 2).map(|q| d * (f32::from(q) - 16.0)));
        }
        GgmlType::Q5_1 => {
            let (d, m) = (f16_at(block, 0), f16_at(block, 2));
            out.extend(fives32(block, 4).map(|q| d * f32::from(q) + m));
        }
        GgmlType::Q8_0 => {
            let d = f16_at(block, 0);
            out.extend(block[2..].iter().map(|&q| d * f32::from(q as i8)));
        }
        GgmlType::Q4K => decode_k(&KBlock::q4(block), out),
        GgmlType::Q5K => decode_k(&KBlock::q5(block), out),
        GgmlType::Q6K => {
            let block = Q6Block::new(block);
            let weight = |(i, &q): (usize, &i8)| block.scales[i / 16] * f32::from(q);
            out.extend(block.codes.iter().enumerate().map(weight));
        }
    }
}

fn decode_k(block: &KBlock, out: &mut Vec<f32>) {
    let weight = |(i, &q): (usize, &u8)| block.scales[i / 32] * f32::from(q) + block.minima[i / 32];
    out.extend(block.codes.iter().enumerate().map(weight));
}

/// Floats as the bytes of a float type; `None` for a quantized one.
pub(super) fn float_bytes(kind: GgmlType, values: &[f32]) -> Option<Vec<u8>> {
    Some(match kind {
        GgmlType::F32 => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
        GgmlType::F16 => values
            .iter()
            .flat_map(|&x| f16::from_f32(x).to_le_bytes())
            .collect(),
        GgmlType::Bf16 => values
            .iter()
            .flat_map(|&x| bf16::from_f32(x).to_le_bytes())
            .collect(),
        GgmlType::Q4_0
        | GgmlType::Q4_1
        | GgmlType::Q5_0
        | GgmlType::Q5_1
        | GgmlType::Q8_0
        | GgmlType::Q4K
        | GgmlType::Q5K
        | GgmlType::Q6K => return None,
    })
}
