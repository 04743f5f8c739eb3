struct Params {
    count: u32, // elements of this launch
    first: u32, // index of its first element in the whole tensor
    columns: u32,
    alpha: f32,
    beta: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
