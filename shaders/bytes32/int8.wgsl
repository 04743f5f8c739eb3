// Thirty-two int8 codes as eight words of four bytes, in the order of their elements.

@group(0) @binding(2) var<storage, read> codes: array<vec4<u32>>; // [n, row_words / 4], 16 codes each

// What a byte holds above its code.
const OFFSET = 0i;

fn load_bytes32(row_start: u32, step: u32) -> array<u32, 8> {
    let at = row_start / 4u + 2u * step;
    let a = codes[at];
    let b = codes[at + 1u];
    return array<u32, 8>(a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w);
}

// The first of the four words as they lie among which this one is.
fn load_first_of_four(word: u32) -> u32 {
    return codes[word / 4u].x;
}
