// Products in f32.

alias Element = f32;

fn product(a: f32, b: f32) -> f32 {
    return a * b;
}

// The sum of four products.
fn product4(a: vec4<f32>, b: vec4<f32>) -> f32 {
    return dot(a, b);
}
