// ROWS weight rows a lane times COLUMNS rows of x: the lanes of a subgroup load one run of x together
// and hand it round by shuffles. For segments of whole runs of 32.
//
// Loops run over arrays of their own length, so that drivers unroll them and keep all sums in registers.

@if(web) enable subgroups;
import package::lib::grid::linear_workgroup;
import package::variant::{SUBGROUP, COLUMNS, ROWS};
import package::matmul_int8::params::params;
import package::matmul_int8::activations::load_x16;
import package::matmul_int8::blocks::{segment_scale, segment_sum};
import package::matmul_int8::term::scaled_term;
import package::bytes32::{OFFSET, load_bytes32};
import package::scale::load_scale;
import package::zero::load_zero;
import package::minimum::load_minimum;
import package::lib::epilogue::finish_pair;

@compute @workgroup_size(SUBGROUP)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    // No lane leaves early, because others read its part of x: rows past the end are read as the last
    // row and never stored.
    let first_row = (linear_workgroup(workgroup, workgroups) * SUBGROUP + lane) * ROWS;

    let segment_steps = params.segment_steps;
    let x_row_words = params.x_row_words;
    var w_start: array<u32, ROWS>;
    var scale_start: array<u32, ROWS>;
    for (var j = 0u; j < ROWS; j++) {
        let row = min(first_row + j, params.n - 1u);
        w_start[j] = row * params.row_words;
        scale_start[j] = row * params.scale_row_stride;
    }
    var sums: array<array<f32, ROWS>, COLUMNS>;
    for (var segment = 0u; segment < params.segments; segment++) {
        var dots: array<array<i32, ROWS>, COLUMNS>;
        for (var step = segment * segment_steps; step < (segment + 1u) * segment_steps; step++) {
            var bytes: array<array<u32, 8>, ROWS>;
            for (var j = 0u; j < ROWS; j++) {
                bytes[j] = load_bytes32(w_start[j], step);
            }
            var own: array<array<u32, 4>, COLUMNS>;
            for (var i = 0u; i < COLUMNS; i++) {
                own[i] = load_x16(i * x_row_words, 2u * step + lane % 2u);
            }
            for (var quad = 0u; quad < 8u; quad++) {
                for (var i = 0u; i < COLUMNS; i++) {
                    let x_bytes = subgroupShuffle(own[i][quad % 4u], quad / 4u);
                    for (var j = 0u; j < ROWS; j++) {
                        dots[i][j] += dot4I8Packed(x_bytes, bytes[j][quad]);
                    }
                }
            }
        }
        let group = segment / params.group_segments;
        var scale: array<f32, ROWS>;
        var zero: array<i32, ROWS>;
        var minimum: array<f32, ROWS>;
        for (var j = 0u; j < ROWS; j++) {
            scale[j] = load_scale(scale_start[j] + group);
            zero[j] = load_zero(scale_start[j] + group) + OFFSET;
            minimum[j] = load_minimum(scale_start[j] + group);
        }
        for (var i = 0u; i < COLUMNS; i++) {
            let x_scale = segment_scale(i, segment);
            let x_sum = segment_sum(i, segment);
            for (var j = 0u; j < ROWS; j++) {
                sums[i][j] += scaled_term(dots[i][j], zero[j], scale[j], minimum[j], x_scale, x_sum);
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
