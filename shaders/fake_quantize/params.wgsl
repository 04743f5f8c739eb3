struct Params {
    rows: u32, // runs of elements under one scale
    columns: u32, // elements of a run
    scale_stride: u32, // 1 where runs have scales of their own, 0 where all share one
    min_code: i32,
    max_code: i32,
    slope_factor: f32, // of gradients of learned scales
}

@group(0) @binding(0) var<uniform> params: Params;
