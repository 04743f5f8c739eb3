// Stored int8 codes.

@group(0) @binding(2) var<storage, read> values: array<vec2<u32>>; // four a word

// Codes 8 * step .. 8 * step + 7 of the stored row that starts at word `first`.
fn load_stored8(first: u32, step: u32) -> array<vec4<f32>, 2> {
    let words = values[first / 2u + step];
    return array<vec4<f32>, 2>(vec4<f32>(unpack4xI8(words.x)), vec4<f32>(unpack4xI8(words.y)));
}
