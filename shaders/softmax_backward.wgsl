// Gradients through softmax or log-softmax, from its results y: one sum over the row, then each element.

import package::lib::grid::linear_workgroup;
import package::variant::WORKGROUP_SIZE;
import package::lanes::{LANE_STEP, row_index, first_element};
import package::element::load_bits;
import package::second::load_b_element;
import package::reduce::reduce_sum;
import package::distribution_slope::{weighted, through};
import package::store::store_pair;

struct Params {
    rows: u32,
    columns: u32,
}

@group(0) @binding(0) var<uniform> params: Params;

fn load_y(index: u32) -> f32 {
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
    var sum = 0.0;
    for (var column = first; column < params.columns; column += LANE_STEP) {
        sum += weighted(load_y(start + column), load_b_element(start + column));
    }
    sum = reduce_sum(sum, lane);
    for (var column = 2u * first; column < params.columns; column += 2u * LANE_STEP) {
        let left = start + column;
        let right = start + min(column + 1u, params.columns - 1u);
        store_pair(start, column, params.columns,
            through(load_y(left), load_b_element(left), sum),
            through(load_y(right), load_b_element(right), sum));
    }
}
