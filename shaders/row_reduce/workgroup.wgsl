// One workgroup per row: neighbouring lanes read neighbouring elements.

import package::lib::grid::linear_workgroup;
import package::variant::WORKGROUP_SIZE;
import package::row_reduce::params::{params, out};
import package::row::reduce_row;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = linear_workgroup(workgroup, workgroups);
    if (row >= params.rows) {
        return;
    }
    let result = reduce_row(row * params.columns, lane, WORKGROUP_SIZE);
    if (lane == 0u) {
        out[row] = result;
    }
}
