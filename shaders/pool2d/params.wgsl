struct Params {
    count: u32, // elements of the result of this launch
    height: u32, // of x
    width: u32,
    out_height: u32, // of what pooling gives
    out_width: u32,
    kernel_height: u32, // 0 where windows are adaptive
    kernel_width: u32,
    padding_y: u32,
    padding_x: u32,
}

@group(0) @binding(0) var<uniform> params: Params;

// Places of x in a window of rows x .. y - 1 and columns x .. y - 1.
fn window_area(rows: vec2<u32>, columns: vec2<u32>) -> f32 {
    return f32((rows.y - rows.x) * (columns.y - columns.x));
}
