// int4 codes as numbers: q + 8 unsigned, byte j of a word holds elements j (low nibble) and j + 4.

@group(0) @binding(2) var<storage, read> codes: array<u32>; // [n, row_words], 8 a word

struct W8 {
    low: vec4<f32>,
    high: vec4<f32>,
}

// The codes q of elements 8 * step .. 8 * step + 7 of a row that starts at word `row_start`.
fn load_codes8(row_start: u32, step: u32) -> W8 {
    let word = codes[row_start + step];
    return W8(
        vec4<f32>(unpack4xU8(word & 0x0f0f0f0fu)) - 8.0,
        vec4<f32>(unpack4xU8((word >> 4u) & 0x0f0f0f0fu)) - 8.0,
    );
}
