// ROWS weight rows a lane times COLUMNS rows of x: the lanes of a subgroup load one run of x together
// and hand it round by shuffles. For groups of whole runs of 32, subgroups of at least four lanes.
//
// Groups of one run (RUNS is 1) have no loop of their own, which would carry all sums through its mask on a
// CPU; GROUPS of them take their scales from one word. Loops run over arrays of their own length, so that
// drivers unroll them and keep all sums in registers.

@if(web) enable subgroups;
import package::lib::grid::linear_workgroup;
import package::variant::{SUBGROUP, COLUMNS, ROWS, RUNS, GROUPS};
import package::matmul_quant::params::params;
import package::x::load_x4;
import package::bytes32::{OFFSET, load_bytes32};
import package::touch::touch_rows;
import package::scale::{load_scale, load_scale_pair};
import package::zero::load_zero;
import package::minimum::{load_minimum, load_minimum_pair, scale_codes};
import package::lib::epilogue::finish_pair;

// Quads of x that a lane loads for the others, and lanes that share a run.
const OWN = 8u / min(SUBGROUP, 8u);
const SHARING = 8u / OWN;

@compute @workgroup_size(SUBGROUP)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    // No lane leaves early, because others read its part of x: rows past the end are read as the last
    // row and never stored.
    let tile_row = linear_workgroup(workgroup, workgroups) * SUBGROUP * ROWS;
    let first_row = tile_row + lane * ROWS;

    let k = params.k;
    let runs = select(params.group_steps / 4u, RUNS, RUNS > 0u);
    let own_x = lane % SHARING * OWN * 4u;
    var w_start: array<u32, ROWS>;
    var scale_start: array<u32, ROWS>;
    for (var j = 0u; j < ROWS; j++) {
        let row = min(first_row + j, params.n - 1u);
        w_start[j] = row * params.row_words;
        scale_start[j] = row * params.scale_row_stride;
    }
    var sums: array<array<f32, ROWS>, COLUMNS>;
    sums[0][0] = touch_rows(tile_row, params.n, params.row_words, lane);
    for (var first_group = 0u; first_group < params.groups; first_group += GROUPS) {
        var scale: array<array<f32, ROWS>, GROUPS>;
        var minimum: array<array<f32, ROWS>, GROUPS>;
        for (var j = 0u; j < ROWS; j++) {
            let at = scale_start[j] + first_group;
            if (GROUPS == 2u) {
                let scale_pair = load_scale_pair(at);
                let minimum_pair = load_minimum_pair(at);
                for (var g = 0u; g < GROUPS; g++) {
                    scale[g][j] = scale_pair[g];
                    minimum[g][j] = minimum_pair[g];
                }
            } else {
                scale[0][j] = load_scale(at);
                minimum[0][j] = load_minimum(at);
            }
        }
        for (var g = 0u; g < GROUPS; g++) {
            let group = first_group + g;
            var zero: array<i32, ROWS>;
            for (var j = 0u; j < ROWS; j++) {
                zero[j] = load_zero(scale_start[j] + group) + OFFSET;
            }
            var products: array<array<f32, ROWS>, COLUMNS>;
            var x_sum: array<f32, COLUMNS>;
            for (var r = 0u; r < runs; r++) {
                let run = group * runs + r;
                var bytes: array<array<u32, 8>, ROWS>;
                for (var j = 0u; j < ROWS; j++) {
                    bytes[j] = load_bytes32(w_start[j], run);
                }
                var own: array<array<vec4<f32>, OWN>, COLUMNS>;
                for (var i = 0u; i < COLUMNS; i++) {
                    for (var q = 0u; q < OWN; q++) {
                        own[i][q] = load_x4(i, run * 32u + own_x + q * 4u, k);
                    }
                }
                for (var quad = 0u; quad < 8u; quad++) {
                    var weights: array<vec4<f32>, ROWS>;
                    for (var j = 0u; j < ROWS; j++) {
                        weights[j] = vec4<f32>(unpack4xI8(bytes[j][quad]) - zero[j]);
                    }
                    for (var i = 0u; i < COLUMNS; i++) {
                        let values = subgroupShuffle(own[i][quad % OWN], quad / OWN);
                        x_sum[i] += values.x + values.y + values.z + values.w;
                        for (var j = 0u; j < ROWS; j++) {
                            products[i][j] += dot(values, weights[j]);
                        }
                    }
                }
            }
            for (var i = 0u; i < COLUMNS; i++) {
                for (var j = 0u; j < ROWS; j++) {
                    sums[i][j] += scale_codes(products[i][j], x_sum[i], scale[g][j], minimum[g][j]);
                }
            }
        }
    }

    for (var i = 0u; i < COLUMNS; i++) {
        for (var j = 0u; j < ROWS; j += 2u) {
            finish_pair(
                i * params.out_stride,
                params.first_column + first_row + j,
                params.first_column + params.n,
                sums[i][j],
                sums[i][j + 1u],
            );
        }
    }
}
