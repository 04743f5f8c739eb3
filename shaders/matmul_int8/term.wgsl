// From an exact integer sum to its real term, with the activations' scales and code sums.

import package::matmul_int8::blocks::{segment_scale, segment_sum};
import package::minimum::scale_codes;

// Term of one segment: the zero point (and offset) of the weights is taken off through the sum of the
// activations. The scales are applied one after the other, because their product may be subnormal.
fn scaled_term(sum: i32, zero: i32, w_scale: f32, minimum: f32, x_scale: f32, x_sum: i32) -> f32 {
    return scale_codes(x_scale * f32(sum - zero * x_sum), x_scale * f32(x_sum), w_scale, minimum);
}

fn segment_term(sum: i32, zero: i32, w_scale: f32, minimum: f32, row: u32, segment: u32) -> f32 {
    return scaled_term(sum, zero, w_scale, minimum, segment_scale(row, segment), segment_sum(row, segment));
}
