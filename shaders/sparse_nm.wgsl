// KEPT of every GROUP weights of a row, any pattern: a lane makes ROWS rows of the weight by COLUMNS rows
// of x and loads each activation where its index points.

import package::lib::grid::linear_workgroup;
import package::variant::{COLUMNS, ROWS, KEPT, GROUP, VECTOR, WORKGROUP_SIZE};
import package::sparse::params::params;
import package::sparse_nm::indices::{load_indices8, index_at};
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
    let tiles_n = (params.n + ROWS - 1u) / ROWS;
    let tile = linear_workgroup(workgroup, workgroups) * WORKGROUP_SIZE + lane;
    let first_x = tile / tiles_n * COLUMNS;
    let first_row = tile % tiles_n * ROWS;
    if (first_x >= params.m) {
        return;
    }

    let k = params.k;
    var x_start: array<u32, COLUMNS>;
    for (var c = 0u; c < COLUMNS; c++) {
        x_start[c] = min(first_x + c, params.m - 1u) * k;
    }
    var value_start: array<u32, ROWS>;
    var index_start: array<u32, ROWS>;
    var scale_start: array<u32, ROWS>;
    for (var r = 0u; r < ROWS; r++) {
        let row = min(first_row + r, params.n - 1u);
        value_start[r] = row * params.row_words;
        index_start[r] = row / VECTOR * params.index_words;
        scale_start[r] = row * params.scale_stride;
    }
    var sums: array<array<f32, ROWS>, COLUMNS>;
    for (var group = 0u; group < params.groups; group++) {
        for (var step = group * params.group_steps; step < (group + 1u) * params.group_steps; step++) {
            for (var r = 0u; r < ROWS; r++) {
                let scale = load_scale(scale_start[r] + group);
                let packed = load_indices8(index_start[r], step);
                var weights = load_stored8(value_start[r], step);
                for (var t = 0u; t < 8u; t++) {
                    // Places past the end of a row hold zeros and read no activation.
                    let column = (step * 8u + t) / KEPT * GROUP + index_at(packed, t);
                    let weight = scale * weights[t / 4u][t % 4u];
                    for (var c = 0u; c < COLUMNS; c++) {
                        let value = load_x1(x_start[c] + min(column, k - 1u));
                        sums[c][r] += select(0.0, value, column < k) * weight;
                    }
                }
            }
        }
    }

    for (var c = 0u; c < COLUMNS; c++) {
        if (first_x + c < params.m) {
            for (var r = 0u; r < ROWS; r += 2u) {
                finish_pair((first_x + c) * params.out_stride, first_row + r, params.n, sums[c][r], sums[c][r + 1u]);
            }
        }
    }
}
