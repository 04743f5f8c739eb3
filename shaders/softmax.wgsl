// Softmax and log-softmax of rows: the largest element, the sum of exponentials below it, the results.

import package::lib::grid::linear_workgroup;
import package::lib::share::share_below;
import package::variant::WORKGROUP_SIZE;
import package::lanes::{LANE_STEP, row_index, first_element};
import package::element::load_bits;
import package::reduce::{reduce_max, reduce_sum};
import package::distribution::distributed;
import package::store::store_pair;

struct Params {
    rows: u32,
    columns: u32,
}

@group(0) @binding(0) var<uniform> params: Params;

fn load_x(index: u32) -> f32 {
    return bitcast<f32>(load_bits(index));
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
    let start = row * params.columns;
    let first = first_element(lane);
    var largest = load_x(start);
    for (var column = first; column < params.columns; column += LANE_STEP) {
        largest = max(largest, load_x(start + column));
    }
    largest = reduce_max(largest, lane);
    var sum = 0.0;
    for (var column = first; column < params.columns; column += LANE_STEP) {
        sum += share_below(load_x(start + column) - largest);
    }
    sum = reduce_sum(sum, lane);
    for (var column = 2u * first; column < params.columns; column += 2u * LANE_STEP) {
        let second = min(column + 1u, params.columns - 1u);
        let left = distributed(load_x(start + column) - largest, sum);
        let right = distributed(load_x(start + second) - largest, sum);
        store_pair(start, column, params.columns, left, right);
    }
}
