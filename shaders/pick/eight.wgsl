// Groups of eight activations: each kept weight takes one of them by its index.

fn pick(low: vec4<f32>, high: vec4<f32>, which: u32, index: u32) -> f32 {
    let group = select(low, high, (index & 4u) == 4u);
    let odd = (index & 1u) == 1u;
    return select(select(group.x, group.y, odd), select(group.z, group.w, odd), (index & 2u) == 2u);
}
