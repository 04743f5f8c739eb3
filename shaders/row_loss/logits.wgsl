// Elements of x, and the largest and the sum of exponentials of a row of them.

import package::lib::share::share_below;
import package::element::load_bits;
import package::lanes::{LANE_STEP, first_element};
import package::reduce::{reduce_max, reduce_sum};
import package::row_loss::params::params;

fn load_x(row: u32, column: u32) -> f32 {
    return bitcast<f32>(load_bits(row * params.columns + column));
}

// Largest element and sum of e^(x - largest).
fn x_facts(row: u32, lane: u32) -> vec2<f32> {
    let first = first_element(lane);
    var largest = load_x(row, 0u);
    for (var column = first; column < params.columns; column += LANE_STEP) {
        largest = max(largest, load_x(row, column));
    }
    largest = reduce_max(largest, lane);
    var sum = 0.0;
    for (var column = first; column < params.columns; column += LANE_STEP) {
        sum += share_below(load_x(row, column) - largest);
    }
    return vec2(largest, reduce_sum(sum, lane));
}
