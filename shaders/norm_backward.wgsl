// Gradient of a normalized row: with h = (x - mean) scale and g = dy gamma, dx = scale (g - mean of g -
// h mean of g h); without centring the middle term is absent.

import package::lib::grid::linear_workgroup;
import package::variant::WORKGROUP_SIZE;
import package::lanes::{LANE_STEP, row_index, first_element};
import package::norm::params::params;
import package::element::load_bits;
import package::second::load_b_element;
import package::place::{element_index, channel_of};
import package::norm_term::mean_gradient;
import package::reduce::reduce_sum;
import package::norm::store::store_two;

@group(0) @binding(3) var<storage, read> gamma: array<f32>; // [channels]
@group(0) @binding(7) var<storage, read> statistics: array<f32>; // [rows, 2] mean, 1 / deviation

// The normalized element and the gradient that arrives at it.
fn arrived(row: u32, column: u32, mean: f32, scale: f32) -> vec2<f32> {
    let index = element_index(row, column);
    let away = bitcast<f32>(load_bits(index)) - mean;
    return vec2(away * scale, load_b_element(index) * gamma[channel_of(row, column)]);
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
    let mean = statistics[2u * row];
    let scale = statistics[2u * row + 1u];
    var gradients = 0.0;
    var products = 0.0;
    for (var column = first; column < params.columns; column += LANE_STEP) {
        let both = arrived(row, column, mean, scale);
        gradients += both.y;
        products += both.x * both.y;
    }
    let level = mean_gradient(gradients, lane);
    let slope = reduce_sum(products, lane) / f32(params.columns);
    for (var column = 2u * first; column < params.columns; column += 2u * LANE_STEP) {
        let left = arrived(row, column, mean, scale);
        let right = arrived(row, min(column + 1u, params.columns - 1u), mean, scale);
        store_two(row, column,
            scale * ((left.y - level) - left.x * slope),
            scale * ((right.y - level) - right.x * slope));
    }
}
