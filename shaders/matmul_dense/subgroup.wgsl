// Tiles shared by a subgroup without memory or barriers: SUBGROUP lanes make TILE_M * SUBGROUP rows
// by TILE_N * SUBGROUP columns. Each lane loads one row of a in SUBGROUP and hands it to the others by
// shuffles; columns of b stay with the lane that loaded them.
//
// Loops run over arrays of their own length, so that drivers unroll them and keep all sums in registers.

@if(web) enable subgroups;
import package::lib::grid::linear_workgroup;
import package::variant::{SUBGROUP, TILE_M, TILE_N};
import package::matmul_dense::params::params;
import package::matmul_dense::tile::{tile_at, a_row, out_row};
import package::step_a::load_a_step;
import package::step_b::{b_start, load_b_step};
import package::product::{Element, product4};
import package::lib::epilogue::finish_pair;

@compute @workgroup_size(SUBGROUP)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let tile = tile_at(linear_workgroup(workgroup, workgroups), TILE_M * SUBGROUP, TILE_N * SUBGROUP);
    // The same for all lanes, as every condition around a shuffle must be.
    if (tile.matrix >= params.batch) {
        return;
    }
    let first_column = tile.first_column + lane * TILE_N;

    let terms = params.k;
    var a_at: array<u32, TILE_M>;
    for (var i = 0u; i < TILE_M; i++) {
        a_at[i] = a_row(tile.matrix, tile.first_row + i * SUBGROUP + lane);
    }
    var b_at: array<u32, TILE_N>;
    for (var j = 0u; j < TILE_N; j++) {
        b_at[j] = b_start(tile.matrix, first_column, j);
    }
    var sums: array<array<array<f32, TILE_N>, SUBGROUP>, TILE_M>;
    for (var k = 0u; k < terms; k += 8u) {
        var left: array<array<vec4<f32>, 2>, TILE_M>;
        for (var i = 0u; i < TILE_M; i++) {
            left[i] = load_a_step(a_at[i], k);
        }
        let right = load_b_step(b_at, k);
        for (var quad = 0u; quad < 2u; quad++) {
            var columns: array<vec4<Element>, TILE_N>;
            for (var j = 0u; j < TILE_N; j++) {
                columns[j] = vec4<Element>(right[j][quad]);
            }
            for (var i = 0u; i < TILE_M; i++) {
                let own = left[i][quad];
                for (var other = 0u; other < SUBGROUP; other++) {
                    let row = vec4<Element>(subgroupShuffle(own, other));
                    for (var j = 0u; j < TILE_N; j++) {
                        sums[i][other][j] += product4(row, columns[j]);
                    }
                }
            }
        }
    }

    for (var i = 0u; i < TILE_M; i++) {
        for (var other = 0u; other < SUBGROUP; other++) {
            let row = tile.first_row + i * SUBGROUP + other;
            if (row < params.m) {
                for (var j = 0u; j < TILE_N; j += 2u) {
                    finish_pair(
                        out_row(tile.matrix, row),
                        params.first_column + first_column + j,
                        params.first_column + params.n,
                        sums[i][other][j],
                        sums[i][other][j + 1u],
                    );
                }
            }
        }
    }
}
