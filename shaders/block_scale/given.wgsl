// One scale for all blocks, found beforehand.

@group(0) @binding(4) var<storage, read> code_scale: array<f32>; // [2]: the scale and its reciprocal

fn block_scale(row: u32, first: u32, end: u32, lane: u32) -> vec2<f32> {
    return vec2<f32>(code_scale[0], code_scale[1]);
}
