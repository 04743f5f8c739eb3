// Both operands of an integer product, 8 elements a step: int8 codes times int4 codes, which are stored
// as q + 8, byte j of a word holding elements j (low nibble) and j + 4.

@group(0) @binding(1) var<storage, read> x: array<u32>; // [m, x_row_words], 4 codes a word
@group(0) @binding(2) var<storage, read> codes: array<u32>; // [n, row_words], 8 codes a word

// What a weight's bytes hold above its code: taken off through the sums of the activations.
const OFFSET = 8i;

// Elements of one step.
const STEP = 8u;

struct Packed {
    first: u32,
    second: u32,
}

fn load_x_step(row_start: u32, step: u32) -> Packed {
    let at = row_start + 2u * step;
    return Packed(x[at], x[at + 1u]);
}

fn load_w_step(row_start: u32, step: u32) -> Packed {
    let word = codes[row_start + step];
    return Packed(word & 0x0f0f0f0fu, (word >> 4u) & 0x0f0f0f0fu);
}

fn dot_step(a: Packed, b: Packed) -> i32 {
    return dot4I8Packed(a.first, b.first) + dot4I8Packed(a.second, b.second);
}
