// What a pruning mask keeps: a bit for each parameter, rows padded to whole words.

import package::optimizer::params::params;

@group(0) @binding(6) var<storage, read> mask: array<u32>; // [count / columns, row_words]

fn is_kept(index: u32) -> bool {
    let column = index % params.columns;
    let bits = mask[index / params.columns * params.row_words + column / 32u];
    return ((bits >> (column % 32u)) & 1u) != 0u;
}
