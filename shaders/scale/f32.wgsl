@group(0) @binding(3) var<storage, read> scales: array<f32>; // [n, groups]

fn load_scale(index: u32) -> f32 {
    return scales[index];
}

// Scales of two neighbouring groups; index is even.
fn load_scale_pair(index: u32) -> vec2<f32> {
    return vec2<f32>(scales[index], scales[index + 1u]);
}
