// Running statistics move towards those of this batch, the variance without bias.

import package::norm::params::params;

@group(0) @binding(6) var<storage, read_write> running: array<f32>; // [channels, 2] mean, variance

fn update_running(row: u32, mean: f32, squares: f32) {
    let variance = squares / f32(params.columns - 1u);
    let kept = 1.0 - params.momentum;
    running[2u * row] = kept * running[2u * row] + params.momentum * mean;
    running[2u * row + 1u] = kept * running[2u * row + 1u] + params.momentum * variance;
}
