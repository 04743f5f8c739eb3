// Distances between the entries of a row, eight bits each.

@group(0) @binding(4) var<storage, read> deltas: array<vec2<u32>>; // four a word, low bits first

// Distances of entries 8 * step .. 8 * step + 7.
fn load_deltas8(step: u32) -> array<u32, 8> {
    let words = deltas[step];
    return array<u32, 8>(
        words.x & 255u,
        (words.x >> 8u) & 255u,
        (words.x >> 16u) & 255u,
        words.x >> 24u,
        words.y & 255u,
        (words.y >> 8u) & 255u,
        (words.y >> 16u) & 255u,
        words.y >> 24u,
    );
}
