// Tiles made by matrix instructions: a workgroup stages TILE_K terms of ROWS rows and COLUMNS columns,
// each of its WAVES_M x WAVES_N subgroups multiplies UNITS_M x UNITS_N squares of UNIT x UNIT outputs,
// and the outputs pass through shared memory to the lanes that finish and store them.

@if(web) enable subgroups;
import package::lib::grid::linear_workgroup;
import package::variant::{ROWS, COLUMNS, WAVES_N, UNITS_M, UNITS_N, UNIT, TILE_K, WORKGROUP_SIZE};
import package::matmul_dense::params::params;
import package::matmul_dense::tile::{tile_at, a_row, b_column, out_row};
import package::a::load_a;
import package::b::load_b;
import package::unit::{Element, Left, Right, Sums, STRIDE, shared_a, shared_b, shared_out};
import package::unit::{load_left, load_right, multiply, keep};
import package::lib::epilogue::finish_pair;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) invocation: u32,
    @builtin(subgroup_id) wave: u32,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let tile = tile_at(linear_workgroup(workgroup, workgroups), ROWS, COLUMNS);
    // The same for all lanes of a workgroup, as barriers and matrix instructions need.
    if (tile.matrix >= params.batch) {
        return;
    }
    let wave_row = wave / WAVES_N * UNITS_M * UNIT;
    let wave_column = wave % WAVES_N * UNITS_N * UNIT;
    // Neighbouring lanes load neighbouring elements, whichever way an operand lies.
    let a_along_k = params.a_k_stride == 1u;
    let b_along_k = params.b_k_stride == 1u;

    var sums: array<array<Sums, UNITS_N>, UNITS_M>;
    for (var first_k = 0u; first_k < params.k; first_k += TILE_K) {
        for (var at = invocation; at < ROWS * TILE_K; at += WORKGROUP_SIZE) {
            let row = select(at % ROWS, at / TILE_K, a_along_k);
            let column = select(at / ROWS, at % TILE_K, a_along_k);
            let k = first_k + column;
            var value = 0.0;
            if (k < params.k) {
                value = load_a(a_row(tile.matrix, tile.first_row + row) + k * params.a_k_stride);
            }
            shared_a[row * STRIDE + column] = Element(value);
        }
        for (var at = invocation; at < COLUMNS * TILE_K; at += WORKGROUP_SIZE) {
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
        for (var k = 0u; k < TILE_K; k += UNIT) {
            var right: array<Right, UNITS_N>;
            for (var j = 0u; j < UNITS_N; j++) {
                right[j] = load_right((wave_column + j * UNIT) * STRIDE + k);
            }
            for (var i = 0u; i < UNITS_M; i++) {
                let left = load_left((wave_row + i * UNIT) * STRIDE + k);
                for (var j = 0u; j < UNITS_N; j++) {
                    sums[i][j] = multiply(left, right[j], sums[i][j], lane);
                }
            }
        }
        workgroupBarrier(); // before the next terms overwrite these
    }

    for (var i = 0u; i < UNITS_M; i++) {
        for (var j = 0u; j < UNITS_N; j++) {
            keep(sums[i][j], (wave_row + i * UNIT) * COLUMNS + wave_column + j * UNIT, lane);
        }
    }
    workgroupBarrier();
    for (var at = 2u * invocation; at < ROWS * COLUMNS; at += 2u * WORKGROUP_SIZE) {
        let row = tile.first_row + at / COLUMNS;
        if (row < params.m) {
            finish_pair(
                out_row(tile.matrix, row),
                params.first_column + tile.first_column + at % COLUMNS,
                params.first_column + params.n,
                shared_out[at],
                shared_out[at + 1u],
            );
        }
    }
}
