// Kept blocks, a subgroup to SUBGROUP * ROWS rows of one row of blocks: its lanes hold the activations of
// RUN columns of each of COLUMNS rows of x side by side and hand them round by shuffles.
//
// Loops run over arrays of their own length, so that drivers unroll them and keep all sums in registers.

@if(web) enable subgroups;
import package::lib::grid::linear_workgroup;
import package::variant::{COLUMNS, ROWS, RUN, BLOCK_ROWS, BLOCK_COLUMNS, SUBGROUP};
import package::sparse::params::params;
import package::sparse_block::blocks::{block_columns, row_starts};
import package::x1::load_x1;
import package::stored::load_stored8;
import package::scale::load_scale;
import package::skip::is_wanted;
import package::lib::epilogue::finish_pair;

const ROW_STEPS = BLOCK_COLUMNS / 8u;
const WINDOW = min(8u, SUBGROUP);
const WINDOWS = RUN / WINDOW;
const STEPS = RUN / 8u;

@compute @workgroup_size(SUBGROUP)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let tiles_n = (params.n + ROWS * SUBGROUP - 1u) / (ROWS * SUBGROUP);
    let tile = linear_workgroup(workgroup, workgroups);
    let first_x = tile / tiles_n * COLUMNS;
    let tile_row = tile % tiles_n * SUBGROUP * ROWS;
    // The same for all lanes, as every condition around a shuffle must be.
    if (first_x >= params.m) {
        return;
    }
    let first_row = tile_row + lane * ROWS;

    let k = params.k;
    var x_start: array<u32, COLUMNS>;
    for (var c = 0u; c < COLUMNS; c++) {
        x_start[c] = min(first_x + c, params.m - 1u) * k;
    }
    let within = first_row % BLOCK_ROWS;
    var sums: array<array<f32, ROWS>, COLUMNS>;
    let end = row_starts[tile_row / BLOCK_ROWS + 1u];
    for (var block = row_starts[tile_row / BLOCK_ROWS]; block < end; block++) {
        let first_column = block_columns[block] * BLOCK_COLUMNS;
        let value_start = block * params.row_words;
        let scale_start = block * params.scale_stride + within * params.scale_row_stride;
        for (var group = 0u; group < params.groups; group++) {
            var scale: array<f32, ROWS>;
            for (var r = 0u; r < ROWS; r++) {
                scale[r] = load_scale(scale_start + r * params.scale_row_stride + group);
            }
            for (var first = group * params.group_steps; first < (group + 1u) * params.group_steps; first += STEPS) {
                var own: array<array<f32, WINDOWS>, COLUMNS>;
                var nonzero = false;
                for (var w = 0u; w < WINDOWS; w++) {
                    let column = first_column + first * 8u + w * WINDOW + lane % WINDOW;
                    for (var c = 0u; c < COLUMNS; c++) {
                        own[c][w] = select(0.0, load_x1(x_start[c] + min(column, k - 1u)), column < k);
                        nonzero |= own[c][w] != 0.0;
                    }
                }
                var weights: array<array<array<vec4<f32>, 2>, STEPS>, ROWS>;
                if (is_wanted(nonzero)) {
                    for (var r = 0u; r < ROWS; r++) {
                        for (var s = 0u; s < STEPS; s++) {
                            let stored = load_stored8(value_start, (within + r) * ROW_STEPS + first + s);
                            weights[r][s] = array<vec4<f32>, 2>(scale[r] * stored[0], scale[r] * stored[1]);
                        }
                    }
                }
                for (var s = 0u; s < STEPS; s++) {
                    for (var quad = 0u; quad < 2u; quad++) {
                        let first_lane = 4u * quad % WINDOW;
                        for (var c = 0u; c < COLUMNS; c++) {
                            let source = own[c][(8u * s + 4u * quad) / WINDOW];
                            let taken = vec4<f32>(
                                subgroupShuffle(source, first_lane),
                                subgroupShuffle(source, first_lane + 1u),
                                subgroupShuffle(source, first_lane + 2u),
                                subgroupShuffle(source, first_lane + 3u),
                            );
                            for (var r = 0u; r < ROWS; r++) {
                                sums[c][r] += dot(taken, weights[r][s][quad]);
                            }
                        }
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
