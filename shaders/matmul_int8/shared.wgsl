// Shared-memory tiles: a workgroup of LANES_M x LANES_N lanes stages at most TILE_K elements of a
// segment of x and of the weight, then each lane makes TILE_M x TILE_N outputs from them.

import package::lib::grid::linear_workgroup;
import package::variant::{LANES_M, LANES_N, TILE_M, TILE_N, TILE_K, WORKGROUP_SIZE};
import package::matmul_int8::params::params;
import package::matmul_int8::term::segment_term;
import package::packed::{OFFSET, STEP, Packed, load_x_step, load_w_step, dot_step};
import package::scale::load_scale;
import package::zero::load_zero;
import package::minimum::load_minimum;
import package::lib::epilogue::finish_pair;

const ROWS = LANES_M * TILE_M;
const COLUMNS = LANES_N * TILE_N;
const STEPS = TILE_K / STEP;

var<workgroup> shared_x: array<Packed, ROWS * STEPS>;
var<workgroup> shared_w: array<Packed, COLUMNS * STEPS>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let tiles_n = (params.n + COLUMNS - 1u) / COLUMNS;
    let tile = linear_workgroup(workgroup, workgroups);
    let first_row = tile / tiles_n * ROWS;
    let first_column = tile % tiles_n * COLUMNS;
    if (first_row >= params.m) {
        return;
    }
    let lane_row = lane / LANES_N * TILE_M;
    let lane_column = lane % LANES_N * TILE_N;

    var sums: array<f32, TILE_M * TILE_N>;
    for (var segment = 0u; segment < params.segments; segment++) {
        var dots: array<i32, TILE_M * TILE_N>;
        let end = (segment + 1u) * params.segment_steps;
        for (var first_step = segment * params.segment_steps; first_step < end; first_step += STEPS) {
            for (var at = lane; at < ROWS * STEPS; at += WORKGROUP_SIZE) {
                let row = min(first_row + at / STEPS, params.m - 1u);
                let step = first_step + at % STEPS;
                if (step < end) {
                    shared_x[at] = load_x_step(row * params.x_row_words, step);
                } else {
                    shared_x[at] = Packed();
                }
            }
            for (var at = lane; at < COLUMNS * STEPS; at += WORKGROUP_SIZE) {
                // Past the segment's end x is zero, so any weight within the row will do.
                let column = min(first_column + at / STEPS, params.n - 1u);
                shared_w[at] = load_w_step(column * params.row_words, min(first_step + at % STEPS, end - 1u));
            }
            workgroupBarrier();
            for (var step = 0u; step < STEPS; step++) {
                for (var j = 0u; j < TILE_N; j++) {
                    let weights = shared_w[(lane_column + j) * STEPS + step];
                    for (var i = 0u; i < TILE_M; i++) {
                        dots[i * TILE_N + j] += dot_step(shared_x[(lane_row + i) * STEPS + step], weights);
                    }
                }
            }
            workgroupBarrier(); // before the next tile overwrites this one
        }
        for (var j = 0u; j < TILE_N; j++) {
            let row_scales = min(first_column + lane_column + j, params.n - 1u) * params.scale_row_stride;
            let index = row_scales + segment / params.group_segments;
            let scale = load_scale(index);
            let zero = load_zero(index) + OFFSET;
            let minimum = load_minimum(index);
            for (var i = 0u; i < TILE_M; i++) {
                let row = min(first_row + lane_row + i, params.m - 1u);
                sums[i * TILE_N + j] += segment_term(dots[i * TILE_N + j], zero, scale, minimum, row, segment);
            }
        }
    }

    for (var i = 0u; i < TILE_M; i++) {
        let row = first_row + lane_row + i;
        if (row < params.m) {
            for (var j = 0u; j < TILE_N; j += 2u) {
                finish_pair(
                    row * params.out_stride,
                    params.first_column + first_column + lane_column + j,
                    params.first_column + params.n,
                    sums[i * TILE_N + j],
                    sums[i * TILE_N + j + 1u],
                );
            }
        }
    }
}
