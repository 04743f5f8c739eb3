// Register tiles for operands of any layout: each lane makes TILE_M x TILE_N outputs, loads one
// element at a time and shares nothing with the others.

import package::lib::grid::linear_workgroup;
import package::variant::{TILE_M, TILE_N, WORKGROUP_SIZE};
import package::matmul_dense::params::params;
import package::matmul_dense::tile::{tile_at, a_row, b_column, out_row};
import package::a::load_a;
import package::b::load_b;
import package::product::{Element, product};
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
    for (var k = 0u; k < params.k; k++) {
        var right: array<Element, TILE_N>;
        for (var j = 0u; j < TILE_N; j++) {
            right[j] = Element(load_b(b_at[j] + k * params.b_k_stride));
        }
        for (var i = 0u; i < TILE_M; i++) {
            let left = Element(load_a(a_at[i] + k * params.a_k_stride));
            for (var j = 0u; j < TILE_N; j++) {
                sums[i * TILE_N + j] += product(left, right[j]);
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
