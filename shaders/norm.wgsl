// (x - mean) / sqrt(variance + epsilon) * gamma + beta over rows. The variance is summed from centred
// values, in a pass of its own.

import package::lib::grid::linear_workgroup;
import package::variant::WORKGROUP_SIZE;
import package::lanes::{LANE_STEP, row_index, first_element};
import package::norm::params::params;
import package::element::load_bits;
import package::place::{element_index, channel_of};
import package::center::{mean_of_row, load_beta};
import package::running::update_running;
import package::reduce::reduce_sum;
import package::norm::store::store_two;

@group(0) @binding(2) var<storage, read> gamma: array<f32>; // [channels]
@group(0) @binding(7) var<storage, read_write> statistics: array<f32>; // [rows, 2] mean, 1 / deviation

fn normalized(row: u32, column: u32, mean: f32, scale: f32) -> f32 {
    let channel = channel_of(row, column);
    let value = bitcast<f32>(load_bits(element_index(row, column)));
    return (value - mean) * scale * gamma[channel] + load_beta(channel);
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = row_index(linear_workgroup(workgroup, workgroups), lane);
    if (row >= params.rows) {
        return;
    }
    let first = first_element(lane);
    let mean = mean_of_row(row, lane);
    var squares = 0.0;
    for (var column = first; column < params.columns; column += LANE_STEP) {
        let away = bitcast<f32>(load_bits(element_index(row, column))) - mean;
        squares += away * away;
    }
    squares = reduce_sum(squares, lane);
    let scale = inverseSqrt(squares / f32(params.columns) + params.epsilon);
    if (first == 0u) {
        statistics[2u * row] = mean;
        statistics[2u * row + 1u] = scale;
        update_running(row, mean, squares);
    }
    for (var column = 2u * first; column < params.columns; column += 2u * LANE_STEP) {
        let second = min(column + 1u, params.columns - 1u);
        let left = normalized(row, column, mean, scale);
        let right = normalized(row, second, mean, scale);
        store_two(row, column, left, right);
    }
}
