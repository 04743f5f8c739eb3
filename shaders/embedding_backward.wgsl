// Each lane makes one row of the gradient: it looks at the tokens in order and adds those of its row.

import package::lib::grid::linear_workgroup;
import package::variant::WORKGROUP_SIZE;
import package::embedding_backward::params::{params, indices, out};
import package::element::load_bits;

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
    for (var column = 0u; column < params.width; column++) {
        out[row * params.width + column] = 0.0;
    }
    for (var token = 0u; token < params.tokens; token++) {
        if (indices[token] == params.first + row) {
            for (var column = 0u; column < params.width; column++) {
                out[row * params.width + column] += bitcast<f32>(load_bits(token * params.width + column));
            }
        }
    }
}
