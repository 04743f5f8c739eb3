// Tiles shared by a subgroup without memory or barriers: SUBGROUP lanes make TILE_M * SUBGROUP rows
// by TILE_N * SUBGROUP columns. Each lane loads one row of x in SUBGROUP and hands it to the others by
// shuffles; columns of the weight stay with the lane that loaded them. For segments of whole steps of
// sixteen.
//
// Loops run over arrays of their own length, so that drivers unroll them and keep all sums in registers.

@if(web) enable subgroups;
import package::lib::grid::linear_workgroup;
import package::variant::{SUBGROUP, TILE_M, TILE_N};
import package::matmul_int8::params::params;
import package::matmul_int8::activations::load_x16;
import package::matmul_int8::blocks::{segment_scale, segment_sum};
import package::matmul_int8::term::scaled_term;
import package::bytes16::{OFFSET, load_bytes16};
import package::quad_product::{CHUNK, Accumulator, Quad, quad_of, quad_product};
import package::scale::load_scale;
import package::zero::load_zero;
import package::minimum::load_minimum;
import package::lib::epilogue::finish_pair;

const ROWS = TILE_M * SUBGROUP;
const COLUMNS = TILE_N * SUBGROUP;
const CHUNK_STEPS = CHUNK / 16u;

@compute @workgroup_size(SUBGROUP)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let tiles_n = (params.n + COLUMNS - 1u) / COLUMNS;
    let tile = linear_workgroup(workgroup, workgroups);
    let first_row = tile / tiles_n * ROWS;
    let first_column = tile % tiles_n * COLUMNS + lane * TILE_N;
    // The same for all lanes, as every condition around a shuffle must be.
    if (first_row >= params.m) {
        return;
    }

    let segment_steps = params.tile_steps;
    var x_row: array<u32, TILE_M>;
    var x_start: array<u32, TILE_M>;
    for (var i = 0u; i < TILE_M; i++) {
        x_row[i] = min(first_row + i * SUBGROUP + lane, params.m - 1u);
        x_start[i] = x_row[i] * params.x_row_words;
    }
    var w_start: array<u32, TILE_N>;
    var scale_start: array<u32, TILE_N>;
    for (var j = 0u; j < TILE_N; j++) {
        let column = min(first_column + j, params.n - 1u);
        w_start[j] = column * params.row_words;
        scale_start[j] = column * params.scale_row_stride;
    }
    var sums: array<array<array<f32, TILE_N>, SUBGROUP>, TILE_M>;
    for (var segment = 0u; segment < params.segments; segment++) {
        var dots: array<array<array<i32, TILE_N>, SUBGROUP>, TILE_M>;
        let end = (segment + 1u) * segment_steps;
        for (var first_step = segment * segment_steps; first_step < end; first_step += CHUNK_STEPS) {
            var chunk: array<array<array<Accumulator, TILE_N>, SUBGROUP>, TILE_M>;
            for (var step = first_step; step < min(first_step + CHUNK_STEPS, end); step++) {
                var bytes: array<array<u32, 4>, TILE_N>;
                for (var j = 0u; j < TILE_N; j++) {
                    bytes[j] = load_bytes16(w_start[j], step);
                }
                var left: array<array<u32, 4>, TILE_M>;
                for (var i = 0u; i < TILE_M; i++) {
                    left[i] = load_x16(x_start[i], step);
                }
                for (var quad = 0u; quad < 4u; quad++) {
                    var weights: array<Quad, TILE_N>;
                    for (var j = 0u; j < TILE_N; j++) {
                        weights[j] = quad_of(bytes[j][quad]);
                    }
                    for (var i = 0u; i < TILE_M; i++) {
                        let own = quad_of(left[i][quad]);
                        for (var other = 0u; other < SUBGROUP; other++) {
                            let row = subgroupShuffle(own, other);
                            for (var j = 0u; j < TILE_N; j++) {
                                chunk[i][other][j] += quad_product(row, weights[j]);
                            }
                        }
                    }
                }
            }
            for (var i = 0u; i < TILE_M; i++) {
                for (var other = 0u; other < SUBGROUP; other++) {
                    for (var j = 0u; j < TILE_N; j++) {
                        dots[i][other][j] += i32(chunk[i][other][j]);
                    }
                }
            }
        }
        var scale: array<f32, TILE_N>;
        var zero: array<i32, TILE_N>;
        var minimum: array<f32, TILE_N>;
        for (var j = 0u; j < TILE_N; j++) {
            let index = scale_start[j] + segment / params.group_segments;
            scale[j] = load_scale(index);
            zero[j] = load_zero(index) + OFFSET;
            minimum[j] = load_minimum(index);
        }
        for (var i = 0u; i < TILE_M; i++) {
            let own_scale = segment_scale(x_row[i], segment);
            let own_sum = segment_sum(x_row[i], segment);
            for (var other = 0u; other < SUBGROUP; other++) {
                let x_scale = subgroupShuffle(own_scale, other);
                let x_sum = subgroupShuffle(own_sum, other);
                for (var j = 0u; j < TILE_N; j++) {
                    sums[i][other][j] += scaled_term(dots[i][other][j], zero[j], scale[j], minimum[j], x_scale, x_sum);
                }
            }
        }
    }

    for (var i = 0u; i < TILE_M; i++) {
        for (var other = 0u; other < SUBGROUP; other++) {
            let row = first_row + i * SUBGROUP + other;
            if (row < params.m) {
                for (var j = 0u; j < TILE_N; j += 2u) {
                    finish_pair(
                        row * params.out_stride,
                        params.first_column + first_column + j,
                        params.first_column + params.n,
                        sums[i][other][j],
                        sums[i][other][j + 1u],
                    );
                }
            }
        }
    }
}
