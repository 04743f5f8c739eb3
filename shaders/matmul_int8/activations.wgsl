// Activation codes as they lie in memory.

@group(0) @binding(1) var<storage, read> x: array<vec4<u32>>; // [m, x_row_words / 4], 16 codes each

// Codes 16 * step .. 16 * step + 15 of a row that starts at word `row_start`, four a word.
fn load_x16(row_start: u32, step: u32) -> array<u32, 4> {
    let words = x[row_start / 4u + step];
    return array<u32, 4>(words.x, words.y, words.z, words.w);
}
