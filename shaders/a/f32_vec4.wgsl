// f32 operand, four neighbours at a time.

@group(0) @binding(1) var<storage, read> matrix_a: array<vec4<f32>>; // [batch, rows, k / 4]

// Elements index .. index + 3; index is a multiple of 4.
fn load_a4(index: u32) -> vec4<f32> {
    return matrix_a[index / 4u];
}
