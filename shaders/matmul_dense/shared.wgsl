// Shared-memory tiles for operands of any layout: a workgroup of LANES_M x LANES_N lanes stages TILE_K
// terms of each of its rows and columns, then each lane makes TILE_M x TILE_N outputs from them.

import package::lib::grid::linear_workgroup;
import package::variant::{LANES_M, LANES_N, TILE_M, TILE_N, TILE_K, WORKGROUP_SIZE};
import package::matmul_dense::params::params;
import package::matmul_dense::tile::{tile_at, a_row, b_column, out_row};
import package::a::load_a;
import package::b::load_b;
import package::product::{Element, product};
import package::lib::epilogue::finish_pair;

const ROWS = LANES_M * TILE_M;
const COLUMNS = LANES_N * TILE_N;
// One element of padding a row keeps neighbouring rows in different banks.
const STRIDE = TILE_K + 1u;

var<workgroup> shared_a: array<Element, ROWS * STRIDE>;
var<workgroup> shared_b: array<Element, COLUMNS * STRIDE>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let tile = tile_at(linear_workgroup(workgroup, workgroups), ROWS, COLUMNS);
    // The same for all lanes of a workgroup, so that barriers stay uniform.
    if (tile.matrix >= params.batch) {
        return;
    }
    // Neighbouring lanes take neighbouring rows and neighbouring pairs of columns: row i * LANES_M
    // further down, pair j / 2 * LANES_N further right.
    let lane_row = lane / LANES_N;
    let lane_column = lane % LANES_N * 2u;
    // Neighbouring lanes load neighbouring elements, whichever way an operand lies.
    let a_along_k = params.a_k_stride == 1u;
    let b_along_k = params.b_k_stride == 1u;

    var sums: array<f32, TILE_M * TILE_N>;
    for (var first_k = 0u; first_k < params.k; first_k += TILE_K) {
        for (var at = lane; at < ROWS * TILE_K; at += WORKGROUP_SIZE) {
            let row = select(at % ROWS, at / TILE_K, a_along_k);
            let column = select(at / ROWS, at % TILE_K, a_along_k);
            let k = first_k + column;
            var value = 0.0;
            if (k < params.k) {
                value = load_a(a_row(tile.matrix, tile.first_row + row) + k * params.a_k_stride);
            }
            shared_a[row * STRIDE + column] = Element(value);
        }
        for (var at = lane; at < COLUMNS * TILE_K; at += WORKGROUP_SIZE) {
            let row = select(at % COLUMNS, at / TILE_K, b_along_k);
            let column = select(at / COLUMNS, at % TILE_K, b_along_k);
            let k = first_k + column;
            var value = 0.0;
            if (k < params.k) {
                value = load_b(b_column(tile.matrix, tile.first_column + row) + k * params.b_k_stride);
            }
            shared_b[row * STRIDE + column] = Element(value);
        }
        workgroupBarrier();
        for (var k = 0u; k < TILE_K; k++) {
            var right: array<Element, TILE_N>;
            for (var j = 0u; j < TILE_N; j++) {
                let column = j / 2u * 2u * LANES_N + lane_column + j % 2u;
                right[j] = shared_b[column * STRIDE + k];
            }
            for (var i = 0u; i < TILE_M; i++) {
                let left = shared_a[(i * LANES_M + lane_row) * STRIDE + k];
                for (var j = 0u; j < TILE_N; j++) {
                    sums[i * TILE_N + j] += product(left, right[j]);
                }
            }
        }
        workgroupBarrier(); // before the next terms overwrite these
    }

    for (var i = 0u; i < TILE_M; i++) {
        let row = tile.first_row + i * LANES_M + lane_row;
        if (row < params.m) {
            for (var j = 0u; j < TILE_N; j += 2u) {
                finish_pair(
                    out_row(tile.matrix, row),
                    params.first_column + tile.first_column + j * LANES_N + lane_column,
                    params.first_column + params.n,
                    sums[i * TILE_N + j],
                    sums[i * TILE_N + j + 1u],
                );
            }
        }
    }
}
