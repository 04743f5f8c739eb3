// Scales are positive.

fn sign_bit(start: u32, largest: u32, lane: u32) -> u32 {
    return 0u;
}
