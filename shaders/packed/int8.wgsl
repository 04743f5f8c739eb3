// Both operands of an integer product, 8 elements a step: int8 codes times int8 codes.

@group(0) @binding(1) var<storage, read> x: array<u32>; // [m, x_row_words], 4 codes a word
@group(0) @binding(2) var<storage, read> codes: array<u32>; // [n, row_words], 4 codes a word

// What a weight's bytes hold above its code.
const OFFSET = 0i;

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
    let at = row_start + 2u * step;
    return Packed(codes[at], codes[at + 1u]);
}

fn dot_step(a: Packed, b: Packed) -> i32 {
    return dot4I8Packed(a.first, b.first) + dot4I8Packed(a.second, b.second);
}
