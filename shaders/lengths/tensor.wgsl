// Each sequence has a number of keys of its own.

import package::attention::params::params;

@group(0) @binding(7) var<storage, read> lengths: array<u32>; // [batch]

fn sequence_length(sequence: u32) -> u32 {
    return min(lengths[sequence], params.keys);
}
