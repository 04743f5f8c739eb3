// Each lane takes the four elements of one random block.

import package::lib::grid::linear_workgroup;
import package::lib::philox::philox_block;
import package::variant::WORKGROUP_SIZE;
import package::element::load_bits;
import package::pair::store_bits_pair;

struct Params {
    count: u32, // elements of this launch
    first_block: u32, // block of its first element in the whole tensor
    key_low: u32,
    key_high: u32,
    stream: u32,
    threshold: u32, // of the upper 24 bits; below it an element is dropped
    scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> step_count: array<u32>; // [1]

fn kept_bits(index: u32, word: u32) -> u32 {
    if (index >= params.count || (word >> 8u) < params.threshold) {
        return 0u;
    }
    return bitcast<u32>(bitcast<f32>(load_bits(index)) * params.scale);
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let block = linear_workgroup(workgroup, workgroups) * WORKGROUP_SIZE + lane;
    let index = 4u * block;
    if (index >= params.count) {
        return;
    }
    let counter = vec4(params.first_block + block, 0u, params.stream, step_count[0]);
    let words = philox_block(vec2(params.key_low, params.key_high), counter);
    store_bits_pair(2u * block, params.count, kept_bits(index, words.x), kept_bits(index + 1u, words.y));
    if (index + 2u < params.count) {
        let third = kept_bits(index + 2u, words.z);
        store_bits_pair(2u * block + 1u, params.count, third, kept_bits(index + 3u, words.w));
    }
}
