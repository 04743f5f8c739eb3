// One lane per row: no barriers, for many short rows and for CPUs.

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
    let row = linear_workgroup(workgroup, workgroups) * WORKGROUP_SIZE + lane;
    if (row >= params.rows) {
        return;
    }
    out[row] = reduce_row(row * params.columns, 0u, 1u);
}
