// Gradients of the result in bf16, four neighbours at a time.

@group(0) @binding(4) var<storage, read> upstream: array<vec2<u32>>; // rows as those of the result

// Elements index .. index + 3; index is a multiple of 4.
fn load_upstream4(index: u32) -> vec4<f32> {
    let words = upstream[index / 4u];
    let low = words << vec2<u32>(16u);
    let high = words & vec2<u32>(0xffff0000u);
    return bitcast<vec4<f32>>(vec4<u32>(low.x, high.x, low.y, high.y));
}
