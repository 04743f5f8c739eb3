// Scale blocks that are one segment each, BLOCKS by a subgroup one after the other, which reads them once: each
// lane keeps ROUNDS chunks of 16 values, and the lanes meet in the largest magnitude and in the sum of codes. For
// blocks of whole chunks.
//
// Loops run over arrays of their own length, so that drivers unroll them and keep the values.

@if(web) enable subgroups;
import package::lib::grid::linear_workgroup;
import package::variant::{BLOCKS, ROUNDS, SUBGROUP};
import package::x::load_x8;
import package::quantize_rows::params::params;
import package::chunk_scale::chunk_scale;
import package::quantize_rows::code::{largest_of, magnitude_bits, quantize4};

@group(0) @binding(2) var<storage, read_write> codes: array<vec4<u32>>; // [m, row_words / 4], 16 a vector
@group(0) @binding(3) var<storage, read_write> blocks: array<u32>; // f32 [m, blocks], i32 [m, blocks]

@compute @workgroup_size(SUBGROUP)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let begin = linear_workgroup(workgroup, workgroups) * BLOCKS;
    // The same for all lanes, as every condition around their meeting must be.
    for (var index = begin; index < min(begin + BLOCKS, params.m * params.row_blocks); index++) {
        let row = index / params.row_blocks;
        let chunks = params.block_steps / 2u;
        let first = index % params.row_blocks * chunks;

        // Past the last chunk it is read again, which changes no maximum.
        var values: array<array<vec4<f32>, 4>, ROUNDS>;
        var largest = 0u;
        for (var turn = 0u; turn < ROUNDS; turn++) {
            let column = (first + min(turn * SUBGROUP + lane, chunks - 1u)) * 16u;
            let a = load_x8(row, column, params.k);
            let b = load_x8(row, column + 8u, params.k);
            values[turn] = array<vec4<f32>, 4>(a.low, a.high, b.low, b.high);
            let lower = max(magnitude_bits(a.low), magnitude_bits(a.high));
            largest = max(largest, largest_of(max(lower, max(magnitude_bits(b.low), magnitude_bits(b.high)))));
        }
        let scales = chunk_scale(largest);

        var sum = 0i;
        for (var turn = 0u; turn < ROUNDS; turn++) {
            var words: array<u32, 4>;
            var total = vec4<i32>();
            for (var quad = 0u; quad < 4u; quad++) {
                let q = quantize4(values[turn][quad], scales.y);
                words[quad] = pack4xI8(q);
                total += q;
            }
            let chunk = turn * SUBGROUP + lane;
            if (chunk < chunks) {
                codes[row * params.row_words / 4u + first + chunk] = vec4<u32>(words[0], words[1], words[2], words[3]);
                sum += total.x + total.y + total.z + total.w;
            }
        }
        sum = subgroupAdd(sum);
        if (lane == 0u) {
            blocks[params.scales_start + index] = bitcast<u32>(scales.x);
            blocks[params.sums_start + index] = bitcast<u32>(sum);
        }
    }
}
