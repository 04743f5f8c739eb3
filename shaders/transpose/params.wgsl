struct Params { // all in words
    rows: u32, // of the source: columns of the result
    columns: u32,
    source_offset: u32,
    source_row_stride: u32,
    target_offset: u32,
    target_row_stride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>; // [rows, columns]
@group(0) @binding(8) var<storage, read_write> out: array<u32>; // [columns, rows]
