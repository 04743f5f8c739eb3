// Pairs of an element of the first half and the one at its place in the second.

@group(0) @binding(3) var<storage, read> angles: array<vec4<f32>>; // [positions, dim / 4] two of cos, sin

fn rotate(low: vec4<f32>, high: vec4<f32>, row: u32, quad: u32, quads: u32, direction: f32) -> array<vec4<f32>, 2> {
    let left = angles[row / 2u + 2u * quad];
    let right = angles[row / 2u + 2u * quad + 1u];
    let cosine = vec4<f32>(left.xz, right.xz);
    let sine = direction * vec4<f32>(left.yw, right.yw);
    return array<vec4<f32>, 2>(low * cosine - high * sine, high * cosine + low * sine);
}
