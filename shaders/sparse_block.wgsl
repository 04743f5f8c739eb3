// Kept blocks of BLOCK_ROWS x BLOCK_COLUMNS weights: a lane makes ROWS rows of the weight, all of one row
// of blocks, by COLUMNS rows of x.

import package::lib::grid::linear_workgroup;
import package::variant::{COLUMNS, ROWS, BLOCK_ROWS, BLOCK_COLUMNS, WORKGROUP_SIZE};
import package::sparse::params::params;
import package::sparse_block::blocks::{block_columns, row_starts};
import package::x::load_x8;
import package::stored::load_stored8;
import package::scale::load_scale;
import package::lib::epilogue::finish_pair;

const ROW_STEPS = BLOCK_COLUMNS / 8u;

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
    var x_row: array<u32, COLUMNS>;
    for (var c = 0u; c < COLUMNS; c++) {
        x_row[c] = min(first_x + c, params.m - 1u);
    }
    let within = first_row % BLOCK_ROWS;
    var sums: array<array<f32, ROWS>, COLUMNS>;
    let end = row_starts[first_row / BLOCK_ROWS + 1u];
    for (var block = row_starts[first_row / BLOCK_ROWS]; block < end; block++) {
        let first_column = block_columns[block] * BLOCK_COLUMNS;
        let value_start = block * params.row_words;
        let scale_start = block * params.scale_stride + within * params.scale_row_stride;
        for (var group = 0u; group < params.groups; group++) {
            var scale: array<f32, ROWS>;
            for (var r = 0u; r < ROWS; r++) {
                scale[r] = load_scale(scale_start + r * params.scale_row_stride + group);
            }
            for (var step = group * params.group_steps; step < (group + 1u) * params.group_steps; step++) {
                var weights: array<array<vec4<f32>, 2>, ROWS>;
                for (var r = 0u; r < ROWS; r++) {
                    let stored = load_stored8(value_start, (within + r) * ROW_STEPS + step);
                    weights[r] = array<vec4<f32>, 2>(scale[r] * stored[0], scale[r] * stored[1]);
                }
                for (var c = 0u; c < COLUMNS; c++) {
                    let taken = load_x8(x_row[c], first_column + step * 8u, k);
                    for (var r = 0u; r < ROWS; r++) {
                        sums[c][r] += dot(taken.low, weights[r][0]) + dot(taken.high, weights[r][1]);
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
