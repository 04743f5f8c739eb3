@group(0) @binding(3) var<storage, read> scales: array<f32>; // [n, groups]

fn load_scale(index: u32) -> f32 {
    return scales[index];
}
