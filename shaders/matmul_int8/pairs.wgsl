// As the tiles of `subgroup`, with two rows of x in each integer: `a + 65536 b` times a weight's code is both
// products at once. Two such products are added, and from their sum the upper one is taken over; what is left of
// the total is the lower one. With codes of x within 127 and bytes of weights within 128 the lower sum of two
// products is within 2 * 127 * 128 < 2^15, so adding 2^15 rounds its sign away, and the upper one fits 16 bits as
// well. Totals wrap, and what the difference leaves is exact. TILE_M is even.
//
// Loops run over arrays of their own length, so that drivers unroll them.

@if(web) enable subgroups;
import package::lib::grid::linear_workgroup;
import package::variant::{SUBGROUP, TILE_M, TILE_N};
import package::matmul_int8::params::params;
import package::matmul_int8::activations::load_x16;
import package::matmul_int8::blocks::{segment_scale, segment_sum};
import package::matmul_int8::term::scaled_term;
import package::bytes16::{OFFSET, load_bytes16};
import package::minimum::load_minimum;
import package::scale::load_scale;
import package::zero::load_zero;
import package::lib::epilogue::finish_pair;

const PAIRS = TILE_M / 2u;
const ROWS = TILE_M * SUBGROUP;
const COLUMNS = TILE_N * SUBGROUP;
const HALF = 0x8000i;

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
    var sums: array<array<array<vec2<f32>, TILE_N>, SUBGROUP>, PAIRS>;
    for (var segment = 0u; segment < params.segments; segment++) {
        var totals: array<array<array<i32, TILE_N>, SUBGROUP>, PAIRS>;
        var uppers: array<array<array<i32, TILE_N>, SUBGROUP>, PAIRS>;
        for (var step = segment * segment_steps; step < (segment + 1u) * segment_steps; step++) {
            var weights: array<array<vec4<i32>, 4>, TILE_N>;
            for (var j = 0u; j < TILE_N; j++) {
                let bytes = load_bytes16(w_start[j], step);
                for (var quad = 0u; quad < 4u; quad++) {
                    weights[j][quad] = unpack4xI8(bytes[quad]);
                }
            }
            for (var i = 0u; i < PAIRS; i++) {
                let low = load_x16(x_start[2u * i], step);
                let high = load_x16(x_start[2u * i + 1u], step);
                var own: array<vec4<i32>, 4>;
                for (var quad = 0u; quad < 4u; quad++) {
                    own[quad] = unpack4xI8(low[quad]) + (unpack4xI8(high[quad]) << vec4<u32>(16u));
                }
                for (var other = 0u; other < SUBGROUP; other++) {
                    var rows: array<vec4<i32>, 4>;
                    for (var quad = 0u; quad < 4u; quad++) {
                        rows[quad] = subgroupShuffle(own[quad], other);
                    }
                    for (var j = 0u; j < TILE_N; j++) {
                        var total = totals[i][other][j];
                        var upper = uppers[i][other][j];
                        for (var quad = 0u; quad < 4u; quad++) {
                            let products = rows[quad] * weights[j][quad];
                            let two = products.xy + products.zw;
                            let above = (two + HALF) >> vec2<u32>(16u);
                            total += two.x + two.y;
                            upper += above.x + above.y;
                        }
                        totals[i][other][j] = total;
                        uppers[i][other][j] = upper;
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
        for (var i = 0u; i < PAIRS; i++) {
            let own_scales = vec2<f32>(
                segment_scale(x_row[2u * i], segment),
                segment_scale(x_row[2u * i + 1u], segment),
            );
            let own_sums = vec2<i32>(
                segment_sum(x_row[2u * i], segment),
                segment_sum(x_row[2u * i + 1u], segment),
            );
            for (var other = 0u; other < SUBGROUP; other++) {
                let x_scales = subgroupShuffle(own_scales, other);
                let x_sums = subgroupShuffle(own_sums, other);
                for (var j = 0u; j < TILE_N; j++) {
                    let upper = uppers[i][other][j];
                    let lower = totals[i][other][j] - (upper << 16u);
                    sums[i][other][j] += vec2<f32>(
                        scaled_term(lower, zero[j], scale[j], minimum[j], x_scales.x, x_sums.x),
                        scaled_term(upper, zero[j], scale[j], minimum[j], x_scales.y, x_sums.y),
                    );
                }
            }
        }
    }

    for (var i = 0u; i < PAIRS; i++) {
        for (var half = 0u; half < 2u; half++) {
            for (var other = 0u; other < SUBGROUP; other++) {
                let row = first_row + (2u * i + half) * SUBGROUP + other;
                if (row < params.m) {
                    for (var j = 0u; j < TILE_N; j += 2u) {
                        finish_pair(
                            row * params.out_stride,
                            params.first_column + first_column + j,
                            params.first_column + params.n,
                            sums[i][other][j][half],
                            sums[i][other][j + 1u][half],
                        );
                    }
                }
            }
        }
    }
}
