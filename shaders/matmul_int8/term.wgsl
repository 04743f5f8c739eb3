// From an exact integer sum to its real term, with the activations' scales and code sums.

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

// Term of one segment: the zero point (and offset) of the weights is taken off through the sum of the
// activations. The scales are applied one after the other, because their product may be subnormal.
fn scaled_term(sum: i32, zero: i32, w_scale: f32, x_scale: f32, x_sum: i32) -> f32 {
    return x_scale * f32(sum - zero * x_sum) * w_scale;
}

fn segment_term(sum: i32, zero: i32, w_scale: f32, row: u32, segment: u32) -> f32 {
    return scaled_term(sum, zero, w_scale, segment_scale(row, segment), segment_sum(row, segment));
}
