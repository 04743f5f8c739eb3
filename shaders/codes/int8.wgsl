// int8 codes as numbers: two's complement, four a word, low byte first.

@group(0) @binding(2) var<storage, read> codes: array<u32>; // [n, row_words], 4 a word

struct W8 {
    low: vec4<f32>,
    high: vec4<f32>,
}

// The codes q of elements 8 * step .. 8 * step + 7 of a row that starts at word `row_start`.
fn load_codes8(row_start: u32, step: u32) -> W8 {
    let at = row_start + 2u * step;
    return W8(vec4<f32>(unpack4xI8(codes[at])), vec4<f32>(unpack4xI8(codes[at + 1u])));
}
