// ROWS weight rows times COLUMNS rows of x, by LANES lanes: one alone, or a whole workgroup. With
// segments enough each lane takes whole ones and the real sums are reduced at the end; else the lanes
// split each segment and its integer sums are reduced, so that a segment is always summed exactly. Further
// rows of x are further tiles.

import package::lib::grid::linear_workgroup;
import package::variant::{COLUMNS, ROWS, LANES, WORKGROUP_SIZE};
import package::matmul_int8::params::params;
import package::matmul_int8::term::segment_term;
import package::packed::{OFFSET, Packed, load_x_step, load_w_step, dot_step};
import package::scale::load_scale;
import package::zero::load_zero;
import package::minimum::load_minimum;
import package::reduce_many::{reduce_sums, reduce_sums_i32};
import package::lib::epilogue::finish_pair;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    // No lane leaves early, because all meet in the reduction: rows past the end are read as the last
    // row and never stored.
    let group_of_lanes = linear_workgroup(workgroup, workgroups) * (WORKGROUP_SIZE / LANES) + lane / LANES;
    let tiles_m = (params.m + COLUMNS - 1u) / COLUMNS;
    let first_row = group_of_lanes / tiles_m * ROWS;
    let first_x = group_of_lanes % tiles_m * COLUMNS;
    let first_lane = lane % LANES;

    // Uniform, as every condition and loop around a reduction must be.
    let whole_segments = params.segments >= LANES;
    let rounds = select(params.segments, (params.segments + LANES - 1u) / LANES, whole_segments);

    // Hoisted by hand: one driver leaves loads of uniforms and row offsets in the loops.
    var x_row: array<u32, COLUMNS>;
    var x_start: array<u32, COLUMNS>;
    for (var i = 0u; i < COLUMNS; i++) {
        x_row[i] = min(first_x + i, params.m - 1u);
        x_start[i] = x_row[i] * params.x_row_words;
    }
    var w_start: array<u32, ROWS>;
    for (var j = 0u; j < ROWS; j++) {
        w_start[j] = min(first_row + j, params.n - 1u) * params.row_words;
    }
    var sums: array<f32, COLUMNS * ROWS>;
    for (var round = 0u; round < rounds; round++) {
        let segment = select(round, round * LANES + first_lane, whole_segments);
        let begin = segment * params.segment_steps;
        let end = select(begin, begin + params.segment_steps, segment < params.segments);
        let stride = select(LANES, 1u, whole_segments);
        var dots: array<i32, COLUMNS * ROWS>;
        for (var step = begin + select(first_lane, 0u, whole_segments); step < end; step += stride) {
            var activations: array<Packed, COLUMNS>;
            for (var i = 0u; i < COLUMNS; i++) {
                activations[i] = load_x_step(x_start[i], step);
            }
            for (var j = 0u; j < ROWS; j++) {
                let weights = load_w_step(w_start[j], step);
                for (var i = 0u; i < COLUMNS; i++) {
                    dots[i * ROWS + j] += dot_step(activations[i], weights);
                }
            }
        }
        if (!whole_segments) {
            reduce_sums_i32(&dots, lane);
        }
        if (segment < params.segments) {
            for (var j = 0u; j < ROWS; j++) {
                let row_scales = min(first_row + j, params.n - 1u) * params.scale_row_stride;
                let index = row_scales + segment / params.group_segments;
                let scale = load_scale(index);
                let zero = load_zero(index) + OFFSET;
                let minimum = load_minimum(index);
                for (var i = 0u; i < COLUMNS; i++) {
                    sums[i * ROWS + j] += segment_term(dots[i * ROWS + j], zero, scale, minimum, x_row[i], segment);
                }
            }
        }
    }
    if (whole_segments) {
        reduce_sums(&sums, lane);
    }

    if (first_lane == 0u) {
        for (var i = 0u; i < COLUMNS; i++) {
            let row = first_x + i;
            if (row < params.m) {
                for (var j = 0u; j < ROWS; j += 2u) {
                    finish_pair(
                        row * params.out_stride,
                        params.first_column + first_row + j,
                        params.first_column + params.n,
                        sums[i * ROWS + j],
                        sums[i * ROWS + j + 1u],
                    );
                }
            }
        }
    }
}
