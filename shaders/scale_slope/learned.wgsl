// What a learned scale gets from one run.

import package::lanes::first_element;
import package::reduce::reduce_sum;
import package::fake_quantize::params::params;

@group(0) @binding(7) var<storage, read_write> slopes: array<f32>; // [rows]

fn store_slope(row: u32, lane: u32, sum: f32) {
    let total = reduce_sum(sum, lane);
    if (first_element(lane) == 0u) {
        slopes[row] = params.slope_factor * total;
    }
}
