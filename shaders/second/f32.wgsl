// The second operand, stored as f32.

@group(0) @binding(2) var<storage, read> b_values: array<f32>;

fn load_b_element(index: u32) -> f32 {
    return b_values[index];
}
