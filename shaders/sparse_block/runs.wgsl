// Kept blocks of BLOCK_ROWS x BLOCK_COLUMNS weights, rows of blocks a multiple of what one load of values
// brings: a lane makes ROWS rows of the weight, all of one row of blocks, by COLUMNS rows of x, and applies
// scales to the sums of a group.
//
// Loops run over arrays of their own length, so that drivers unroll them and keep all sums in registers.

import package::lib::grid::linear_workgroup;
import package::variant::{COLUMNS, ROWS, BLOCK_ROWS, BLOCK_COLUMNS, WORKGROUP_SIZE};
import package::sparse::params::params;
import package::sparse_block::blocks::{block_columns, row_starts};
import package::x::load_x8;
import package::run::{RUN, load_run};
import package::scale::load_scale;
import package::lib::epilogue::finish_pair;

const ROW_RUNS = BLOCK_COLUMNS / RUN;
const EIGHTS = RUN / 8u;
const QUADS = RUN / 4u;

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
    let group_runs = params.group_steps * 8u / RUN;
    var sums: array<array<f32, ROWS>, COLUMNS>;
    let end = row_starts[first_row / BLOCK_ROWS + 1u];
    for (var block = row_starts[first_row / BLOCK_ROWS]; block < end; block++) {
        let first_column = block_columns[block] * BLOCK_COLUMNS;
        let value_start = block * params.row_words;
        let scale_start = block * params.scale_stride + within * params.scale_row_stride;
        for (var group = 0u; group < params.groups; group++) {
            var partial: array<array<f32, ROWS>, COLUMNS>;
            for (var run = group * group_runs; run < (group + 1u) * group_runs; run++) {
                var weights: array<array<vec4<f32>, QUADS>, ROWS>;
                for (var r = 0u; r < ROWS; r++) {
                    weights[r] = load_run(value_start, (within + r) * ROW_RUNS + run);
                }
                for (var c = 0u; c < COLUMNS; c++) {
                    for (var e = 0u; e < EIGHTS; e++) {
                        let taken = load_x8(x_row[c], first_column + run * RUN + e * 8u, k);
                        for (var r = 0u; r < ROWS; r++) {
                            partial[c][r] += dot(taken.low, weights[r][2u * e]) + dot(taken.high, weights[r][2u * e + 1u]);
                        }
                    }
                }
            }
            for (var r = 0u; r < ROWS; r++) {
                let scale = load_scale(scale_start + r * params.scale_row_stride + group);
                for (var c = 0u; c < COLUMNS; c++) {
                    sums[c][r] += scale * partial[c][r];
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
