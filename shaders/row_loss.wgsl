// The loss of each row and the gradient of its elements, which is scaled by a factor read from a buffer.

import package::lib::grid::linear_workgroup;
import package::variant::WORKGROUP_SIZE;
import package::lanes::{LANE_STEP, row_index, first_element};
import package::row_loss::params::params;
import package::reduce::reduce_sum;
import package::loss::{row_facts, loss_term, loss_gradient};
import package::store::store_pair;

@group(0) @binding(3) var<storage, read> factor: array<f32>; // [1]
@group(0) @binding(7) var<storage, read_write> losses: array<f32>; // [rows]

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
    let facts = row_facts(row, lane);
    var total = 0.0;
    for (var column = first; column < params.columns; column += LANE_STEP) {
        total += loss_term(facts, row, column);
    }
    total = reduce_sum(total, lane);
    if (first == 0u) {
        losses[row] = total;
    }
    for (var column = 2u * first; column < params.columns; column += 2u * LANE_STEP) {
        let second = min(column + 1u, params.columns - 1u);
        let left = factor[0] * loss_gradient(facts, row, column);
        let right = factor[0] * loss_gradient(facts, row, second);
        store_pair(start, column, params.columns, left, right);
    }
}
