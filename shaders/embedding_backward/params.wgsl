struct Params {
    rows: u32, // of the table that this launch makes
    first: u32, // the first of them
    tokens: u32,
    width: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> indices: array<u32>; // [tokens]
@group(0) @binding(8) var<storage, read_write> out: array<f32>; // [rows, width]
