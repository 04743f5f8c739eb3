struct Params {
    chunk_groups: u32, // chunks times groups
    groups: u32,
    group_in: u32, // channels of x in a group
    group_out: u32, // channels of dy in a group
    batch: u32,
    image_chunk: u32, // images of one sum
    row_chunk: u32, // rows of dy of one sum
    row_chunks: u32, // chunks of an image
    height: u32, // of x
    width: u32,
    out_height: u32, // of dy
    out_width: u32,
    taps: u32, // of the kernel
    kernel_width: u32,
    stride_y: u32,
    stride_x: u32,
    padding_y: u32,
    padding_x: u32,
    dilation_y: u32,
    dilation_x: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
