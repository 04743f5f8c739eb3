// A workgroup makes one row of the gradient: its lanes look at 64 tokens at once and note those of the
// row as bits, then each lane adds its columns of the noted tokens in order.

import package::lib::grid::linear_workgroup;
import package::variant::WORKGROUP_SIZE;
import package::embedding_backward::params::{params, indices, out};
import package::element::load_bits;

var<workgroup> shared_found: array<atomic<u32>, 2>;

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
    for (var column = lane; column < params.width; column += WORKGROUP_SIZE) {
        out[row * params.width + column] = 0.0;
    }
    for (var first = 0u; first < params.tokens; first += WORKGROUP_SIZE) {
        if (lane < 2u) {
            atomicStore(&shared_found[lane], 0u);
        }
        workgroupBarrier();
        let token = first + lane;
        if (token < params.tokens) {
            if (indices[token] == params.first + row) {
                atomicOr(&shared_found[lane / 32u], 1u << (lane % 32u));
            }
        }
        workgroupBarrier();
        for (var half = 0u; half < 2u; half++) {
            var found = atomicLoad(&shared_found[half]);
            while (found != 0u) {
                let source = first + 32u * half + firstTrailingBit(found);
                for (var column = lane; column < params.width; column += WORKGROUP_SIZE) {
                    out[row * params.width + column] += bitcast<f32>(load_bits(source * params.width + column));
                }
                found &= found - 1u;
            }
        }
        workgroupBarrier(); // before the bits are cleared
    }
}
