// f32 operand, one element at a time.

@group(0) @binding(2) var<storage, read> matrix_b: array<f32>; // [batch, rows, k] or [batch, k, rows]

fn load_b(index: u32) -> f32 {
    return matrix_b[index];
}
