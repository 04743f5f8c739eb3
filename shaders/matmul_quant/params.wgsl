struct Params {
    m: u32, // rows of x
    n: u32, // rows of the weight in this launch
    k: u32,
    row_words: u32, // words of one packed weight row
    groups: u32, // groups of one row
    group_steps: u32, // 8-element steps of one group
    scale_row_stride: u32, // scales of one row; 0 when the tensor has one scale
    out_stride: u32, // columns of the whole output
    first_column: u32, // of the whole output, that this launch makes
}

@group(0) @binding(0) var<uniform> params: Params;
