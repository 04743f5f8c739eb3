// Stored values in f32.

@group(0) @binding(2) var<storage, read> values: array<vec4<f32>>; // rows of a multiple of 8 values

// Values 8 * step .. 8 * step + 7 of the stored row that starts at word `first`.
fn load_stored8(first: u32, step: u32) -> array<vec4<f32>, 2> {
    let at = first / 4u + 2u * step;
    return array<vec4<f32>, 2>(values[at], values[at + 1u]);
}
