// A workgroup makes a run of columns of one row of the gradient, a column a lane: its lanes look at
// WORKGROUP_SIZE tokens at once and note those of the row as bits, then each adds its column of the noted
// tokens in order.

import package::lib::grid::linear_workgroup;
import package::variant::WORKGROUP_SIZE;
import package::embedding_backward::params::{params, indices, out};
import package::element::load_bits;

const NOTES = WORKGROUP_SIZE / 32u;

var<workgroup> shared_found: array<atomic<u32>, NOTES>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let run = linear_workgroup(workgroup, workgroups);
    let runs = (params.width + WORKGROUP_SIZE - 1u) / WORKGROUP_SIZE;
    let row = run / runs;
    if (row >= params.rows) {
        return;
    }
    let column = run % runs * WORKGROUP_SIZE + lane;
    // Lanes past the last column add it too and store nothing.
    let near = min(column, params.width - 1u);
    var sum = 0.0;
    for (var first = 0u; first < params.tokens; first += WORKGROUP_SIZE) {
        if (lane < NOTES) {
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
        for (var note = 0u; note < NOTES; note++) {
            var found = atomicLoad(&shared_found[note]);
            while (found != 0u) {
                let source = first + 32u * note + firstTrailingBit(found);
                sum += bitcast<f32>(load_bits(source * params.width + near));
                found &= found - 1u;
            }
        }
        workgroupBarrier(); // before the notes are cleared
    }
    if (column < params.width) {
        out[row * params.width + column] = sum;
    }
}
