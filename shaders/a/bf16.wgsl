// bf16 operand, one element at a time: rows may be odd, so a word may hold elements of two rows.

import package::lib::half::bf16_bits_to_f32;

@group(0) @binding(1) var<storage, read> matrix_a: array<u32>; // [batch, rows, k] or [batch, k, rows], two a word

fn load_a(index: u32) -> f32 {
    return bf16_bits_to_f32(matrix_a[index / 2u] >> (16u * (index & 1u)));
}
