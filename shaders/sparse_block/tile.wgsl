// Kept blocks, a subgroup to a tile of TILE_M * SUBGROUP rows of x by TILE_N * SUBGROUP rows of one row of
// blocks: each lane loads one row of x in SUBGROUP and hands it to the others by shuffles; rows of the
// weight stay with the lane that loaded them.
//
// Loops run over arrays of their own length, so that drivers unroll them and keep all sums in registers.

@if(web) enable subgroups;
import package::lib::grid::linear_workgroup;
import package::variant::{SUBGROUP, TILE_M, TILE_N, BLOCK_ROWS, BLOCK_COLUMNS};
import package::sparse::params::params;
import package::sparse_block::blocks::{block_columns, row_starts};
import package::x::load_x8;
import package::stored::load_stored8;
import package::scale::load_scale;
import package::lib::epilogue::finish_pair;

const ROW_STEPS = BLOCK_COLUMNS / 8u;

@compute @workgroup_size(SUBGROUP)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let tiles_n = (params.n + TILE_N * SUBGROUP - 1u) / (TILE_N * SUBGROUP);
    let tile = linear_workgroup(workgroup, workgroups);
    let first_x = tile / tiles_n * TILE_M * SUBGROUP;
    let tile_row = tile % tiles_n * TILE_N * SUBGROUP;
    // The same for all lanes, as every condition around a shuffle must be.
    if (first_x >= params.m) {
        return;
    }
    let first_row = tile_row + lane * TILE_N;

    let k = params.k;
    var x_row: array<u32, TILE_M>;
    for (var i = 0u; i < TILE_M; i++) {
        x_row[i] = min(first_x + i * SUBGROUP + lane, params.m - 1u);
    }
    let within = first_row % BLOCK_ROWS;
    var sums: array<array<array<f32, TILE_N>, SUBGROUP>, TILE_M>;
    let end = row_starts[tile_row / BLOCK_ROWS + 1u];
    for (var block = row_starts[tile_row / BLOCK_ROWS]; block < end; block++) {
        let first_column = block_columns[block] * BLOCK_COLUMNS;
        let value_start = block * params.row_words;
        let scale_start = block * params.scale_stride + within * params.scale_row_stride;
        for (var group = 0u; group < params.groups; group++) {
            var scale: array<f32, TILE_N>;
            for (var j = 0u; j < TILE_N; j++) {
                scale[j] = load_scale(scale_start + j * params.scale_row_stride + group);
            }
            for (var step = group * params.group_steps; step < (group + 1u) * params.group_steps; step++) {
                var weights: array<array<vec4<f32>, 2>, TILE_N>;
                for (var j = 0u; j < TILE_N; j++) {
                    let stored = load_stored8(value_start, (within + j) * ROW_STEPS + step);
                    weights[j] = array<vec4<f32>, 2>(scale[j] * stored[0], scale[j] * stored[1]);
                }
                var own: array<array<vec4<f32>, 2>, TILE_M>;
                for (var i = 0u; i < TILE_M; i++) {
                    let eight = load_x8(x_row[i], first_column + step * 8u, k);
                    own[i] = array<vec4<f32>, 2>(eight.low, eight.high);
                }
                for (var quad = 0u; quad < 2u; quad++) {
                    var columns: array<vec4<f32>, TILE_N>;
                    for (var j = 0u; j < TILE_N; j++) {
                        columns[j] = weights[j][quad];
                    }
                    for (var i = 0u; i < TILE_M; i++) {
                        let source = own[i][quad];
                        for (var other = 0u; other < SUBGROUP; other++) {
                            let taken = subgroupShuffle(source, other);
                            for (var j = 0u; j < TILE_N; j++) {
                                sums[i][other][j] += dot(taken, columns[j]);
                            }
                        }
                    }
                }
            }
        }
    }

    for (var i = 0u; i < TILE_M; i++) {
        for (var other = 0u; other < SUBGROUP; other++) {
            let row = first_x + i * SUBGROUP + other;
            if (row < params.m) {
                for (var j = 0u; j < TILE_N; j += 2u) {
                    finish_pair(row * params.out_stride, first_row + j, params.n, sums[i][other][j], sums[i][other][j + 1u]);
                }
            }
        }
    }
}
