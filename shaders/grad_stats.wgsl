// One lane per chunk: no barriers, for CPUs.

import package::lib::grid::linear_workgroup;
import package::variant::{CHUNK, WORKGROUP_SIZE};
import package::grad_stats::params::params;
import package::grad_stats::chunk::measure;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let chunk = linear_workgroup(workgroup, workgroups) * WORKGROUP_SIZE + lane;
    if (chunk * CHUNK >= params.count) {
        return;
    }
    measure(chunk, 0u, 1u);
}
