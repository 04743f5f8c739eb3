struct Params {
    count: u32,
    alpha: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
