// The key of a score's bits: larger keys belong to larger scores. Subnormals and -0 count as +0, NaN
// has key 0, below -inf; no score has the largest key. Integers only: exact on every driver.

fn score_key(bits: u32) -> u32 {
    let magnitude = bits & 0x7fffffffu;
    let ordered = bits ^ select(0x80000000u, 0xffffffffu, (bits >> 31u) != 0u);
    let flushed = select(ordered, 0x80000000u, magnitude < 0x00800000u);
    return select(flushed, 0u, magnitude > 0x7f800000u);
}
