// Register tiles: each lane makes TILE_M x TILE_N outputs and shares nothing with the others.

import package::lib::grid::linear_workgroup;
import package::variant::{TILE_M, TILE_N, WORKGROUP_SIZE};
import package::matmul_int8::params::params;
import package::matmul_int8::term::segment_term;
import package::packed::{OFFSET, Packed, load_x_step, load_w_step, dot_step};
import package::scale::load_scale;
import package::zero::load_zero;
import package::minimum::load_minimum;
import package::lib::epilogue::finish_pair;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let tiles_n = (params.n + TILE_N - 1u) / TILE_N;
    let tiles_m = (params.m + TILE_M - 1u) / TILE_M;
    let tile = linear_workgroup(workgroup, workgroups) * WORKGROUP_SIZE + lane;
    if (tile >= tiles_m * tiles_n) {
        return;
    }
    let first_row = tile / tiles_n * TILE_M;
    let first_column = tile % tiles_n * TILE_N;

    // Hoisted by hand: one driver leaves loads of uniforms and row offsets in the loops.
    let segment_steps = params.segment_steps;
    var x_start: array<u32, TILE_M>;
    for (var i = 0u; i < TILE_M; i++) {
        x_start[i] = min(first_row + i, params.m - 1u) * params.x_row_words;
    }
    var w_start: array<u32, TILE_N>;
    for (var j = 0u; j < TILE_N; j++) {
        w_start[j] = min(first_column + j, params.n - 1u) * params.row_words;
    }
    var sums: array<f32, TILE_M * TILE_N>;
    for (var segment = 0u; segment < params.segments; segment++) {
        var dots: array<i32, TILE_M * TILE_N>;
        for (var step = segment * segment_steps; step < (segment + 1u) * segment_steps; step++) {
            var activations: array<Packed, TILE_M>;
            for (var i = 0u; i < TILE_M; i++) {
                activations[i] = load_x_step(x_start[i], step);
            }
            for (var j = 0u; j < TILE_N; j++) {
                let weights = load_w_step(w_start[j], step);
                for (var i = 0u; i < TILE_M; i++) {
                    dots[i * TILE_N + j] += dot_step(activations[i], weights);
                }
            }
        }
        for (var j = 0u; j < TILE_N; j++) {
            let row_scales = min(first_column + j, params.n - 1u) * params.scale_row_stride;
            let index = row_scales + segment / params.group_segments;
            let scale = load_scale(index);
            let zero = load_zero(index) + OFFSET;
            let minimum = load_minimum(index);
            for (var i = 0u; i < TILE_M; i++) {
                let row = min(first_row + i, params.m - 1u);
                sums[i * TILE_N + j] += segment_term(dots[i * TILE_N + j], zero, scale, minimum, row, segment);
            }
        }
    }

    for (var i = 0u; i < TILE_M; i++) {
        let row = first_row + i;
        if (row < params.m) {
            for (var j = 0u; j < TILE_N; j += 2u) {
                finish_pair(
                    row * params.out_stride,
                    params.first_column + first_column + j,
                    params.first_column + params.n,
                    sums[i * TILE_N + j],
                    sums[i * TILE_N + j + 1u],
                );
            }
        }
    }
}
