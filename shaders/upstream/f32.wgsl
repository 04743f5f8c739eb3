// Gradients of the result in f32, four neighbours at a time.

@group(0) @binding(4) var<storage, read> upstream: array<vec4<f32>>; // rows as those of the result

// Elements index .. index + 3; index is a multiple of 4.
fn load_upstream4(index: u32) -> vec4<f32> {
    return upstream[index / 4u];
}
