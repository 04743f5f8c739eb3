// ROWS weight rows times COLUMNS rows of x, by LANES lanes: one alone, or a whole workgroup, each of
// whose lanes takes every LANES-th run of at most RUN_STEPS steps within a group. Further rows of x are
// further tiles.

import package::lib::grid::linear_workgroup;
import package::variant::{COLUMNS, ROWS, LANES, RUN_STEPS, WORKGROUP_SIZE};
import package::matmul_quant::params::params;
import package::x::load_x8;
import package::codes::load_codes8;
import package::scale::load_scale;
import package::zero::load_zero;
import package::minimum::{load_minimum, lift, scale_sum};
import package::reduce_many::reduce_sums;
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
    let runs_per_group = (params.group_steps + RUN_STEPS - 1u) / RUN_STEPS;
    let runs = params.groups * runs_per_group;

    // Hoisted by hand: one driver leaves loads of uniforms and row offsets in the loops.
    let k = params.k;
    var x_row: array<u32, COLUMNS>;
    for (var i = 0u; i < COLUMNS; i++) {
        x_row[i] = min(first_x + i, params.m - 1u);
    }
    var w_start: array<u32, ROWS>;
    for (var j = 0u; j < ROWS; j++) {
        w_start[j] = min(first_row + j, params.n - 1u) * params.row_words;
    }
    var sums: array<f32, COLUMNS * ROWS>;
    for (var run = lane % LANES; run < runs; run += LANES) {
        let group = run / runs_per_group;
        let begin = group * params.group_steps + run % runs_per_group * RUN_STEPS;
        let end = min(begin + RUN_STEPS, (group + 1u) * params.group_steps);
        var partial: array<f32, COLUMNS * ROWS>;
        var scale: array<f32, ROWS>;
        var zero: array<f32, ROWS>;
        var minimum: array<f32, ROWS>;
        for (var j = 0u; j < ROWS; j++) {
            let index = min(first_row + j, params.n - 1u) * params.scale_row_stride + group;
            scale[j] = load_scale(index);
            zero[j] = f32(load_zero(index));
            minimum[j] = load_minimum(index);
        }
        for (var step = begin; step < end; step++) {
            var x_low: array<vec4<f32>, COLUMNS>;
            var x_high: array<vec4<f32>, COLUMNS>;
            for (var i = 0u; i < COLUMNS; i++) {
                let values = load_x8(x_row[i], step * 8u, k);
                x_low[i] = values.low;
                x_high[i] = values.high;
            }
            for (var j = 0u; j < ROWS; j++) {
                let weights = load_codes8(w_start[j], step);
                let w_low = lift(weights.low - zero[j], scale[j], minimum[j]);
                let w_high = lift(weights.high - zero[j], scale[j], minimum[j]);
                for (var i = 0u; i < COLUMNS; i++) {
                    partial[i * ROWS + j] += dot(x_low[i], w_low) + dot(x_high[i], w_high);
                }
            }
        }
        for (var i = 0u; i < COLUMNS; i++) {
            for (var j = 0u; j < ROWS; j++) {
                sums[i * ROWS + j] += scale_sum(partial[i * ROWS + j], scale[j]);
            }
        }
    }

    reduce_sums(&sums, lane);
    if (lane % LANES == 0u) {
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
