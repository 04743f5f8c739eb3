// ROWS weight rows a lane times COLUMNS rows of x: the lanes of a subgroup load one run of x together
// and hand it round by shuffles. For segments of whole runs of 32, subgroups of at least four lanes.
//
// Segments of one run (RUNS is 1) have no loop of their own, which would carry all sums through its mask on a
// CPU; GROUPS of them take their scales from one word. Loops run over arrays of their own length, so that
// drivers unroll them and keep all sums in registers.

@if(web) enable subgroups;
import package::lib::grid::linear_workgroup;
import package::variant::{SUBGROUP, COLUMNS, ROWS, RUNS, GROUPS};
import package::matmul_int8::params::params;
import package::matmul_int8::words::load_word;
import package::matmul_int8::blocks::{segment_scale, segment_sum};
import package::matmul_int8::term::scaled_term;
import package::quad_product::{Quad, Accumulator, quad_of, quad_product};
import package::bytes32::{OFFSET, load_bytes32};
import package::touch::touch_rows;
import package::scale::{load_scale, load_scale_pair};
import package::zero::load_zero;
import package::minimum::{load_minimum, load_minimum_pair};
import package::lib::epilogue::finish_pair;

// Words of x that a lane loads for the others, and lanes that share a run.
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

    let runs = select(params.segment_steps, RUNS, RUNS > 0u);
    let x_row_words = params.x_row_words;
    let own_x = lane % SHARING * OWN;
    var w_start: array<u32, ROWS>;
    var scale_start: array<u32, ROWS>;
    for (var j = 0u; j < ROWS; j++) {
        let row = min(first_row + j, params.n - 1u);
        w_start[j] = row * params.row_words;
        scale_start[j] = row * params.scale_row_stride;
    }
    var sums: array<array<f32, ROWS>, COLUMNS>;
    sums[0][0] = touch_rows(tile_row, params.n, params.row_words, lane);
    for (var first_segment = 0u; first_segment < params.segments; first_segment += GROUPS) {
        var scale: array<array<f32, ROWS>, GROUPS>;
        var minimum: array<array<f32, ROWS>, GROUPS>;
        for (var j = 0u; j < ROWS; j++) {
            let at = scale_start[j] + first_segment / params.group_segments;
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
        var own_scale: array<f32, COLUMNS>;
        var own_sum: array<i32, COLUMNS>;
        for (var i = 0u; i < COLUMNS; i++) {
            own_scale[i] = segment_scale(i, first_segment + lane % GROUPS);
            own_sum[i] = segment_sum(i, first_segment + lane % GROUPS);
        }
        for (var g = 0u; g < GROUPS; g++) {
            let segment = first_segment + g;
            var dots: array<array<i32, ROWS>, COLUMNS>;
            for (var r = 0u; r < runs; r++) {
                let run = segment * runs + r;
                var bytes: array<array<u32, 8>, ROWS>;
                for (var j = 0u; j < ROWS; j++) {
                    bytes[j] = load_bytes32(w_start[j], run);
                }
                var own: array<array<Quad, OWN>, COLUMNS>;
                for (var i = 0u; i < COLUMNS; i++) {
                    for (var q = 0u; q < OWN; q++) {
                        own[i][q] = quad_of(load_word(i * x_row_words + run * 8u + own_x + q));
                    }
                }
                var products: array<array<Accumulator, ROWS>, COLUMNS>;
                for (var quad = 0u; quad < 8u; quad++) {
                    var weights: array<Quad, ROWS>;
                    for (var j = 0u; j < ROWS; j++) {
                        weights[j] = quad_of(bytes[j][quad]);
                    }
                    for (var i = 0u; i < COLUMNS; i++) {
                        let values = subgroupShuffle(own[i][quad % OWN], quad / OWN);
                        for (var j = 0u; j < ROWS; j++) {
                            products[i][j] += quad_product(values, weights[j]);
                        }
                    }
                }
                for (var i = 0u; i < COLUMNS; i++) {
                    for (var j = 0u; j < ROWS; j++) {
                        dots[i][j] += i32(products[i][j]);
                    }
                }
            }
            var zero: array<i32, ROWS>;
            for (var j = 0u; j < ROWS; j++) {
                zero[j] = load_zero(scale_start[j] + segment / params.group_segments) + OFFSET;
            }
            for (var i = 0u; i < COLUMNS; i++) {
                let x_scale = subgroupShuffle(own_scale[i], g);
                let x_sum = subgroupShuffle(own_sum[i], g);
                for (var j = 0u; j < ROWS; j++) {
                    sums[i][j] += scaled_term(dots[i][j], zero[j], scale[g][j], minimum[g][j], x_scale, x_sum);
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
