// As int8, 32 elements a step by vec4 loads: for segments that are multiples of 32.

@group(0) @binding(1) var<storage, read> x: array<vec4<u32>>; // [m, x_row_words / 4], 16 codes each
@group(0) @binding(2) var<storage, read> codes: array<vec4<u32>>; // [n, row_words / 4], 16 codes each

// What a weight's bytes hold above its code.
const OFFSET = 0i;

// Elements of one step.
const STEP = 32u;

struct Packed {
    first: vec4<u32>,
    second: vec4<u32>,
}

fn load_x_step(row_start: u32, step: u32) -> Packed {
    let at = row_start / 4u + 2u * step;
    return Packed(x[at], x[at + 1u]);
}

fn load_w_step(row_start: u32, step: u32) -> Packed {
    let at = row_start / 4u + 2u * step;
    return Packed(codes[at], codes[at + 1u]);
}

fn dot_step(a: Packed, b: Packed) -> i32 {
    return dot4I8Packed(a.first.x, b.first.x) + dot4I8Packed(a.first.y, b.first.y)
        + dot4I8Packed(a.first.z, b.first.z) + dot4I8Packed(a.first.w, b.first.w)
        + dot4I8Packed(a.second.x, b.second.x) + dot4I8Packed(a.second.y, b.second.y)
        + dot4I8Packed(a.second.z, b.second.z) + dot4I8Packed(a.second.w, b.second.w);
}
