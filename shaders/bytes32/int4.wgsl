// Thirty-two int4 codes as eight words of four bytes, in the order of their elements: q + 8 in each byte.

@group(0) @binding(2) var<storage, read> codes: array<vec4<u32>>; // [n, row_words / 4], 32 codes each

// What a byte holds above its code.
const OFFSET = 8i;

fn load_bytes32(row_start: u32, step: u32) -> array<u32, 8> {
    let words = codes[row_start / 4u + step];
    let low = words & vec4<u32>(0x0f0f0f0fu);
    let high = (words >> vec4<u32>(4u)) & vec4<u32>(0x0f0f0f0fu);
    return array<u32, 8>(low.x, high.x, low.y, high.y, low.z, high.z, low.w, high.w);
}

// The first of the four words as they lie among which this one is.
fn load_first_of_four(word: u32) -> u32 {
    return codes[word / 4u].x;
}
