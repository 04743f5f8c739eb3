// No copy is kept.

fn store_bits_pair(pair: u32, count: u32, first: u32, second: u32) {
}
