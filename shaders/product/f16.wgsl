// Products in f16, each rounded before it is added in f32. Operands are f16 in storage, so making
// them f16 again is exact.

enable f16;

alias Element = f16;

fn product(a: f16, b: f16) -> f32 {
    return f32(a * b);
}

// The sum of four products.
fn product4(a: vec4<f16>, b: vec4<f16>) -> f32 {
    let products = vec4<f32>(a * b);
    return (products.x + products.y) + (products.z + products.w);
}
