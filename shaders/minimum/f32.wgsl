// Weights scale * code + minimum, with f32 minima: each is made before it is summed.

@group(0) @binding(4) var<storage, read> minima: array<f32>; // [n, groups]

fn load_minimum(index: u32) -> f32 {
    return minima[index];
}

// Minima of two neighbouring groups; index is even.
fn load_minimum_pair(index: u32) -> vec2<f32> {
    return vec2<f32>(minima[index], minima[index + 1u]);
}

// Codes of a group as its sum takes them.
fn lift(values: vec4<f32>, scale: f32, minimum: f32) -> vec4<f32> {
    return values * scale + minimum;
}

// The sum over a group of what `lift` returned, times the activations.
fn scale_sum(sum: f32, scale: f32) -> f32 {
    return sum;
}

// Codes as weights.
fn weigh(values: vec4<f32>, scale: f32, minimum: f32) -> vec4<f32> {
    return values * scale + minimum;
}

// What the sums of a group are worth: those of the codes' products and of the activations, or integer ones of a
// segment times the activations' scale.
fn scale_codes(products: f32, x_sum: f32, scale: f32, minimum: f32) -> f32 {
    return products * scale + minimum * x_sum;
}
