// One lane per element: neighbouring lanes write neighbours and read a column.

import package::lib::grid::linear_workgroup;
import package::variant::WORKGROUP_SIZE;
import package::transpose::params::{params, x, out};

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = linear_workgroup(workgroup, workgroups) * WORKGROUP_SIZE + lane;
    let row = index % params.rows;
    let column = index / params.rows;
    if (column >= params.columns) {
        return;
    }
    let source = params.source_offset + row * params.source_row_stride + column;
    out[params.target_offset + column * params.target_row_stride + row] = x[source];
}
