struct Params {
    batch: u32, // matrices of the output
    m: u32, // rows of a and the output in this launch
    n: u32, // columns of b and the output in this launch
    k: u32,
    a_first: u32, // element of a that this launch's first row starts at
    a_batch_stride: u32, // elements; 0 when all matrices share a
    a_row_stride: u32,
    a_k_stride: u32,
    b_batch_stride: u32, // elements; 0 when all matrices share b
    b_column_stride: u32,
    b_k_stride: u32,
    out_stride: u32, // columns of the whole output
    first_column: u32, // of the whole output, that this launch makes
}

@group(0) @binding(0) var<uniform> params: Params;
