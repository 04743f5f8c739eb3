// Stored int4 codes, kept as q + 8: four in the low and four in the high nibbles of a word's bytes.

@group(0) @binding(2) var<storage, read> values: array<u32>; // eight a word

// Codes 8 * step .. 8 * step + 7 of the stored row that starts at word `first`.
fn load_stored8(first: u32, step: u32) -> array<vec4<f32>, 2> {
    let word = values[first + step];
    return array<vec4<f32>, 2>(
        vec4<f32>(unpack4xI8(word & 0x0f0f0f0fu) - 8i),
        vec4<f32>(unpack4xI8((word >> 4u) & 0x0f0f0f0fu) - 8i),
    );
}
