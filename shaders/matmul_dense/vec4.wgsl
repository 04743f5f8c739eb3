// Register tiles for operands that both lie along k, k a multiple of 4: each lane makes TILE_M x
// TILE_N outputs and loads four elements at a time.

import package::lib::grid::linear_workgroup;
import package::variant::{TILE_M, TILE_N, WORKGROUP_SIZE};
import package::matmul_dense::params::params;
import package::matmul_dense::tile::{tile_at, a_row, b_column, out_row};
import package::a::load_a4;
import package::b::load_b4;
import package::product::{Element, product4};
import package::lib::epilogue::finish_pair;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let tile = tile_at(linear_workgroup(workgroup, workgroups) * WORKGROUP_SIZE + lane, TILE_M, TILE_N);
    if (tile.matrix >= params.batch) {
        return;
    }

    var a_at: array<u32, TILE_M>;
    var b_at: array<u32, TILE_N>;
    for (var i = 0u; i < TILE_M; i++) {
        a_at[i] = a_row(tile.matrix, tile.first_row + i);
    }
    for (var j = 0u; j < TILE_N; j++) {
        b_at[j] = b_column(tile.matrix, tile.first_column + j);
    }
    var sums: array<f32, TILE_M * TILE_N>;
    for (var k = 0u; k < params.k; k += 4u) {
        var right: array<vec4<Element>, TILE_N>;
        for (var j = 0u; j < TILE_N; j++) {
            right[j] = vec4<Element>(load_b4(b_at[j] + k));
        }
        for (var i = 0u; i < TILE_M; i++) {
            let left = vec4<Element>(load_a4(a_at[i] + k));
            for (var j = 0u; j < TILE_N; j++) {
                sums[i * TILE_N + j] += product4(left, right[j]);
            }
        }
    }

    for (var i = 0u; i < TILE_M; i++) {
        let row = tile.first_row + i;
        if (row < params.m) {
            for (var j = 0u; j < TILE_N; j += 2u) {
                finish_pair(
                    out_row(tile.matrix, row),
                    params.first_column + tile.first_column + j,
                    params.first_column + params.n,
                    sums[i * TILE_N + j],
                    sums[i * TILE_N + j + 1u],
                );
            }
        }
    }
}
