// int8 codes under a scale found beforehand, as `quantize_rows` writes them: four a word, a row padded to 16 codes. A
// lane's columns are whole words and it finishes them in order: the lower half of a word is kept until the upper one is
// there.

@group(0) @binding(7) var<storage, read> code_scale: array<f32>; // [2]: the scale and its reciprocal
@group(0) @binding(8) var<storage, read_write> out: array<u32>; // [m, n padded to 16] four codes a word

var<private> lower_half: u32;

// Stores the codes of two neighbours of a row that starts at `row_start`; column is even.
fn store_codes(row_start: u32, column: u32, first: f32, second: f32) {
    let scaled = vec2<f32>(first, second) * code_scale[1];
    let pair = vec2<i32>(clamp(round(scaled), vec2<f32>(-127.0), vec2<f32>(127.0)));
    let own_half = u32(pair.x & 255) | (u32(pair.y & 255) << 8u);
    // Without a branch, the first time without the upper half: a row may end there.
    let is_upper = (column & 2u) != 0u;
    out[(row_start + column) / 4u] = select(own_half, lower_half | (own_half << 16u), is_upper);
    lower_half = own_half;
}

// Clears the words behind the last code of a row of `n` codes.
fn clear_padding(row_start: u32, n: u32) {
    for (var at = (n + 3u) / 4u; at < (n + 15u) / 16u * 4u; at++) {
        out[row_start / 4u + at] = 0u;
    }
}
