// f32 activations, one at a time.

@group(0) @binding(1) var<storage, read> x: array<f32>; // [m, k]

fn load_x1(index: u32) -> f32 {
    return x[index];
}
