// Sixteen int8 codes as four words of four bytes, in the order of their elements.

@group(0) @binding(2) var<storage, read> codes: array<vec4<u32>>; // [n, row_words / 4], 16 codes each

// What a byte holds above its code.
const OFFSET = 0i;

fn load_bytes16(row_start: u32, step: u32) -> array<u32, 4> {
    let words = codes[row_start / 4u + step];
    return array<u32, 4>(words.x, words.y, words.z, words.w);
}
