// Places of kept weights within their groups, eight at a time.

import package::variant::INDEX_BITS;
import package::sparse_nm::words::indices;

// Indices of values 8 * step .. 8 * step + 7, the first in the lowest bits.
fn load_indices8(first: u32, step: u32) -> u32 {
    let bit = step * (8u * INDEX_BITS);
    return indices[first + bit / 32u] >> (bit % 32u);
}

fn index_at(packed: u32, which: u32) -> u32 {
    return (packed >> (which * INDEX_BITS)) & ((1u << INDEX_BITS) - 1u);
}
