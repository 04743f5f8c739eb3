// Pairs of neighbours.

@group(0) @binding(3) var<storage, read> angles: array<vec4<f32>>; // [positions, dim / 4] two of cos, sin

fn turn(pairs: vec4<f32>, angle: vec4<f32>, direction: f32) -> vec4<f32> {
    let sine = direction * angle.yw;
    let even = pairs.xz * angle.xz - pairs.yw * sine;
    let odd = pairs.yw * angle.xz + pairs.xz * sine;
    return vec4<f32>(even.x, odd.x, even.y, odd.y);
}

fn rotate(low: vec4<f32>, high: vec4<f32>, row: u32, quad: u32, quads: u32, direction: f32) -> array<vec4<f32>, 2> {
    return array<vec4<f32>, 2>(
        turn(low, angles[row / 2u + quad], direction),
        turn(high, angles[row / 2u + quads + quad], direction),
    );
}
