// f16 operand, one element at a time: rows may be odd, so a word may hold elements of two rows.

@group(0) @binding(2) var<storage, read> matrix_b: array<u32>; // [batch, rows, k] or [batch, k, rows], two a word

fn load_b(index: u32) -> f32 {
    return unpack2x16float(matrix_b[index / 2u] >> (16u * (index & 1u))).x;
}
