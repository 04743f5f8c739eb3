// Single weights, each so many columns after the one before: a lane walks along two rows of the weight,
// one after the other, for COLUMNS rows of x.

import package::lib::grid::linear_workgroup;
import package::variant::{COLUMNS, WORKGROUP_SIZE};
import package::sparse::params::params;
import package::sparse_delta::starts::row_starts;
import package::deltas::load_deltas8;
import package::x1::load_x1;
import package::stored::load_stored8;
import package::scale::load_scale;
import package::lib::epilogue::finish_pair;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    // Neighbouring lanes take neighbouring rows of the weight.
    let tiles_n = (params.n + 1u) / 2u;
    let tile = linear_workgroup(workgroup, workgroups) * WORKGROUP_SIZE + lane;
    let first_x = tile / tiles_n * COLUMNS;
    let first_row = tile % tiles_n * 2u;
    if (first_x >= params.m) {
        return;
    }

    var x_start: array<u32, COLUMNS>;
    for (var c = 0u; c < COLUMNS; c++) {
        x_start[c] = min(first_x + c, params.m - 1u) * params.k;
    }
    var sums: array<array<f32, COLUMNS>, 2>;
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
                for (var c = 0u; c < COLUMNS; c++) {
                    sums[r][c] += load_x1(x_start[c] + column) * weight;
                }
            }
        }
    }

    for (var c = 0u; c < COLUMNS; c++) {
        if (first_x + c < params.m) {
            finish_pair((first_x + c) * params.out_stride, first_row, params.n, sums[0][c], sums[1][c]);
        }
    }
}
