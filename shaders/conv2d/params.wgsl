struct Params {
    image_groups: u32, // images times groups
    groups: u32,
    group_in: u32, // channels of a group that are summed
    group_out: u32, // channels of a group that are made
    height: u32, // of x
    width: u32,
    out_width: u32,
    positions: u32, // of one channel of the result
    kernel_height: u32,
    kernel_width: u32,
    // Row of x that tap r reads for result row y: (y * scale_y + offset_y + r * step_y) / divide_y, in 32-bit
    // integers that wrap, where that is a whole number and a row; columns likewise.
    scale_y: u32,
    scale_x: u32,
    offset_y: u32,
    offset_x: u32,
    step_y: u32,
    step_x: u32,
    divide_y: u32,
    divide_x: u32,
    weight_group: u32, // elements from the weights of one group to those of the next
    weight_out: u32, // of one channel that is made to those of the next
    weight_in: u32, // of one channel that is summed to those of the next
}

@group(0) @binding(0) var<uniform> params: Params;
