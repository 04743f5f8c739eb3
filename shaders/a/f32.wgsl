// f32 operand, one element at a time.

@group(0) @binding(1) var<storage, read> matrix_a: array<f32>; // [batch, rows, k] or [batch, k, rows]

fn load_a(index: u32) -> f32 {
    return matrix_a[index];
}
