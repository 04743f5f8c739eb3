// One scale for all blocks, found beforehand, whatever the largest magnitude is.

@group(0) @binding(4) var<storage, read> code_scale: array<f32>; // [2]: the scale and its reciprocal

fn chunk_scale(largest: u32) -> vec2<f32> {
    return vec2<f32>(code_scale[0], code_scale[1]);
}
