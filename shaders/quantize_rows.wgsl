// One scale block of a row by LANES lanes: one alone, or a whole workgroup. The scale
// first, then codes, and the sum of the codes of each segment of the block.

import package::lib::grid::linear_workgroup;
import package::variant::{LANES, WORKGROUP_SIZE};
import package::x::load_x8;
import package::reduce::reduce_sum_i32;
import package::block_scale::block_scale;
import package::quantize_rows::params::params;
import package::quantize_rows::code::quantize4;

@group(0) @binding(2) var<storage, read_write> codes: array<u32>; // [m, row_words], 4 a word
@group(0) @binding(3) var<storage, read_write> blocks: array<u32>; // f32 [m, segments], i32 [m, segments]

// Stores the codes of one step and returns their sum.
fn quantize_step(row: u32, step: u32, inverse_scale: f32) -> i32 {
    let values = load_x8(row, step * 8u, params.k);
    let low = quantize4(values.low, inverse_scale);
    let high = quantize4(values.high, inverse_scale);
    let at = row * params.row_words + 2u * step;
    codes[at] = pack4xI8(low);
    codes[at + 1u] = pack4xI8(high);
    let both = low + high;
    return both.x + both.y + both.z + both.w;
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = linear_workgroup(workgroup, workgroups) * (WORKGROUP_SIZE / LANES) + lane / LANES;
    let live = index < params.m * params.row_blocks;
    let row = index / params.row_blocks;
    let block = index % params.row_blocks;
    let first_lane = lane % LANES;
    // No lane leaves early, because all meet in the reductions: past the last block there is no step.
    let begin = block * params.block_steps;
    let end = select(begin, begin + params.block_steps, live);

    let both = block_scale(row, begin + first_lane, end, lane);
    let scale = both.x;
    let inverse_scale = both.y;

    let segments = params.row_blocks * params.block_segments;
    let first_segment = row * segments + block * params.block_segments;
    if (params.block_segments >= LANES) {
        // Enough segments for every lane to make whole ones.
        let live_segments = select(0u, params.block_segments, live);
        for (var segment = first_lane; segment < live_segments; segment += LANES) {
            var sum = 0;
            let first_step = begin + segment * params.segment_steps;
            for (var step = first_step; step < first_step + params.segment_steps; step++) {
                sum += quantize_step(row, step, inverse_scale);
            }
            blocks[params.sums_start + first_segment + segment] = bitcast<u32>(sum);
        }
    } else {
        for (var segment = 0u; segment < params.block_segments; segment++) {
            var sum = 0;
            let first_step = begin + segment * params.segment_steps;
            let past = select(first_step, first_step + params.segment_steps, live);
            for (var step = first_step + first_lane; step < past; step += LANES) {
                sum += quantize_step(row, step, inverse_scale);
            }
            sum = reduce_sum_i32(sum, lane);
            if (live && first_lane == 0u) {
                blocks[params.sums_start + first_segment + segment] = bitcast<u32>(sum);
            }
        }
    }

    if (live) {
        for (var segment = first_lane; segment < params.block_segments; segment += LANES) {
            blocks[params.scales_start + first_segment + segment] = bitcast<u32>(scale);
        }
        if (block + 1u == params.row_blocks) {
            let padding = row * params.row_words + 2u * ((params.k + 7u) / 8u);
            for (var at = padding + first_lane; at < (row + 1u) * params.row_words; at += LANES) {
                codes[at] = 0u;
            }
        }
    }
}
