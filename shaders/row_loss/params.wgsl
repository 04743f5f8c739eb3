struct Params {
    rows: u32,
    columns: u32,
    setting: f32, // label smoothing or temperature
}

@group(0) @binding(0) var<uniform> params: Params;
