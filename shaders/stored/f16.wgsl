// Stored values in f16.

@group(0) @binding(2) var<storage, read> values: array<vec4<u32>>; // two a word

// Values 8 * step .. 8 * step + 7 of the stored row that starts at word `first`.
fn load_stored8(first: u32, step: u32) -> array<vec4<f32>, 2> {
    let words = values[first / 4u + step];
    return array<vec4<f32>, 2>(
        vec4<f32>(unpack2x16float(words.x), unpack2x16float(words.y)),
        vec4<f32>(unpack2x16float(words.z), unpack2x16float(words.w)),
    );
}
