// Scales and code sums of the activations.

import package::matmul_int8::params::params;

@group(0) @binding(5) var<storage, read> blocks: array<u32>; // f32 [m, segments], i32 [m, segments]

// Scale of one segment of a row of activations.
fn segment_scale(row: u32, segment: u32) -> f32 {
    let at = row * params.segments + segment;
    return bitcast<f32>(blocks[params.scales_start + at]);
}

// Sum of the codes of one segment of a row of activations.
fn segment_sum(row: u32, segment: u32) -> i32 {
    let at = row * params.segments + segment;
    return bitcast<i32>(blocks[params.sums_start + at]);
}
