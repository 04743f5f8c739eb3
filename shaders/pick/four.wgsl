// Groups of four activations: each kept weight takes one of them by its index.

import package::variant::KEPT;

// The activation of kept weight `which` of four, from the eight activations the four weights, or two of
// them, choose from.
fn pick(low: vec4<f32>, high: vec4<f32>, which: u32, index: u32) -> f32 {
    let group = select(low, high, which / KEPT % 2u == 1u);
    let odd = (index & 1u) == 1u;
    return select(select(group.x, group.y, odd), select(group.z, group.w, odd), index >= 2u);
}
