// Sixteen int4 codes as four words of four bytes, in the order of their elements: q + 8 in each byte.

@group(0) @binding(2) var<storage, read> codes: array<vec2<u32>>; // [n, row_words / 2], 16 codes each

// What a byte holds above its code.
const OFFSET = 8i;

fn load_bytes16(row_start: u32, step: u32) -> array<u32, 4> {
    let words = codes[row_start / 2u + step];
    let low = words & vec2<u32>(0x0f0f0f0fu);
    let high = (words >> vec2<u32>(4u)) & vec2<u32>(0x0f0f0f0fu);
    return array<u32, 4>(low.x, high.x, low.y, high.y);
}
