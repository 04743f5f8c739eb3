struct Params {
    m: u32, // rows of x in this launch
    n: u32, // rows of the weight
    k: u32,
    row_words: u32, // words of one stored row of values: a row of an N:M weight, a block
    index_words: u32, // words of the indices of one vector of rows of an N:M weight
    groups: u32, // runs along a stored row, or along a row of a block, that share a scale
    group_steps: u32, // steps of eight values of one such run
    scale_stride: u32, // scales of one stored row
    scale_row_stride: u32, // scales of one row of a block
    group_shift: u32, // log2 of the entries of a row of single weights that share a scale
    out_stride: u32, // columns of the output
}

@group(0) @binding(0) var<uniform> params: Params;
