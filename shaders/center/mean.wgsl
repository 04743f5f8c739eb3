// Around the mean of the row, with an addend for each channel.

import package::lanes::{LANE_STEP, first_element};
import package::norm::params::params;
import package::element::load_bits;
import package::place::element_index;
import package::reduce::reduce_sum;

@group(0) @binding(3) var<storage, read> beta: array<f32>; // [channels]

fn mean_of_row(row: u32, lane: u32) -> f32 {
    var sum = 0.0;
    for (var column = first_element(lane); column < params.columns; column += LANE_STEP) {
        sum += bitcast<f32>(load_bits(element_index(row, column)));
    }
    return reduce_sum(sum, lane) / f32(params.columns);
}

fn load_beta(channel: u32) -> f32 {
    return beta[channel];
}
