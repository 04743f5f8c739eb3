// Two neighbours given as f32 bits, stored as they are.

@group(0) @binding(8) var<storage, read_write> out: array<u32>; // [count]

// Elements 2 * pair and 2 * pair + 1 of `count`; one past the end is not stored.
fn store_bits_pair(pair: u32, count: u32, first: u32, second: u32) {
    out[2u * pair] = first;
    if (2u * pair + 1u < count) {
        out[2u * pair + 1u] = second;
    }
}
