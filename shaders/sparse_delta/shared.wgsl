// Single weights and one row of x, which the workgroup first copies into its own memory: what is loaded at
// scattered places is then near. A lane walks along two rows of the weight, one after the other.

import package::lib::grid::linear_workgroup;
import package::variant::{SHARED_K, WORKGROUP_SIZE};
import package::sparse::params::params;
import package::sparse_delta::starts::row_starts;
import package::deltas::load_deltas8;
import package::x1::load_x1;
import package::stored::load_stored8;
import package::scale::load_scale;
import package::lib::epilogue::finish_pair;

var<workgroup> shared_x: array<f32, SHARED_K>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let first = linear_workgroup(workgroup, workgroups) * WORKGROUP_SIZE;
    for (var at = lane; at < params.k; at += WORKGROUP_SIZE) {
        shared_x[at] = load_x1(at);
    }
    workgroupBarrier();
    // Neighbouring lanes take neighbouring rows of the weight.
    let first_row = (first + lane) * 2u;
    if (first_row >= params.n) {
        return;
    }

    var sums: array<f32, 2>;
    for (var r = 0u; r < 2u; r++) {
        let row = min(first_row + r, params.n - 1u);
        let end = row_starts[row + 1u] / 8u;
        var column = 0u;
        for (var step = row_starts[row] / 8u; step < end; step++) {
            let distances = load_deltas8(step);
            let scale = load_scale((8u * step) >> params.group_shift);
            let stored = load_stored8(0u, step);
            var weights = array<vec4<f32>, 2>(scale * stored[0], scale * stored[1]);
            var distance = distances;
            for (var t = 0u; t < 8u; t++) {
                column += distance[t];
                let weight = weights[t / 4u][t % 4u];
                sums[r] += shared_x[column] * weight;
            }
        }
    }

    finish_pair(0u, first_row, params.n, sums[0], sums[1]);
}
