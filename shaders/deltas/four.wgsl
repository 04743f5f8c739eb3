// Distances between the entries of a row, four bits each.

@group(0) @binding(4) var<storage, read> deltas: array<u32>; // eight a word, low bits first

// Distances of entries 8 * step .. 8 * step + 7.
fn load_deltas8(step: u32) -> array<u32, 8> {
    let word = deltas[step];
    return array<u32, 8>(
        word & 15u,
        (word >> 4u) & 15u,
        (word >> 8u) & 15u,
        (word >> 12u) & 15u,
        (word >> 16u) & 15u,
        (word >> 20u) & 15u,
        (word >> 24u) & 15u,
        word >> 28u,
    );
}
