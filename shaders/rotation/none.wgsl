// Rows as they are.

fn rotate(low: vec4<f32>, high: vec4<f32>, row: u32, quad: u32, quads: u32, direction: f32) -> array<vec4<f32>, 2> {
    return array<vec4<f32>, 2>(low, high);
}
