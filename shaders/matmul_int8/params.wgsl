struct Params {
    m: u32, // rows of x
    n: u32, // rows of the weight in this launch
    x_row_words: u32, // words of one row of activation codes
    row_words: u32, // words of one packed weight row
    segments: u32, // segments of one row: each has one scale on either side
    segment_steps: u32, // steps of one segment
    tile_steps: u32, // steps of 16 elements of one segment, for tiles shared by a subgroup
    group_segments: u32, // segments of one weight group
    scale_row_stride: u32, // weight scales of one row; 0 when the tensor has one scale
    out_stride: u32, // columns of the whole output
    first_column: u32, // of the whole output, that this launch makes
    scales_start: u32, // word of this launch's first activation scale in `blocks`
    sums_start: u32, // word of this launch's first sum of activation codes
}

@group(0) @binding(0) var<uniform> params: Params;
