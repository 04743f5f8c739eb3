// f32 operand, four neighbours at a time.

@group(0) @binding(2) var<storage, read> matrix_b: array<vec4<f32>>; // [batch, rows, k / 4]

// Elements index .. index + 3; index is a multiple of 4.
fn load_b4(index: u32) -> vec4<f32> {
    return matrix_b[index / 4u];
}
