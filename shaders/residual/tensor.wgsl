@group(0) @binding(7) var<storage, read> residual: array<f32>; // as the output

fn load_residual(index: u32) -> f32 {
    return residual[index];
}
