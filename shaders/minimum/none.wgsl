// Weights scale * (q - zero): the scale waits for the sum of a group.

fn load_minimum(index: u32) -> f32 {
    return 0.0;
}

fn load_minimum_pair(index: u32) -> vec2<f32> {
    return vec2<f32>(0.0);
}

// Codes of a group as its sum takes them.
fn lift(values: vec4<f32>, scale: f32, minimum: f32) -> vec4<f32> {
    return values;
}

// The sum over a group of what `lift` returned, times the activations.
fn scale_sum(sum: f32, scale: f32) -> f32 {
    return scale * sum;
}

// Codes as weights.
fn weigh(values: vec4<f32>, scale: f32, minimum: f32) -> vec4<f32> {
    return scale * values;
}

// What the sums of a group are worth: those of the codes' products and of the activations, or integer ones of a
// segment times the activations' scale.
fn scale_codes(products: f32, x_sum: f32, scale: f32, minimum: f32) -> f32 {
    return products * scale;
}
