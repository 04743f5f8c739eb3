// Keys and values in int8 with a scale a row, four neighbours at a time.

import package::variant::QUADS;

@group(0) @binding(2) var<storage, read> key_rows: array<u32>; // four a word
@group(0) @binding(3) var<storage, read> value_rows: array<u32>;
@group(0) @binding(4) var<storage, read> key_scales: array<f32>; // one a row
@group(0) @binding(6) var<storage, read> value_scales: array<f32>;

// Elements index .. index + 3; index is a multiple of 4.
fn load_key4(index: u32) -> vec4<f32> {
    return vec4<f32>(unpack4xI8(key_rows[index / 4u]));
}

fn load_value4(index: u32) -> vec4<f32> {
    return vec4<f32>(unpack4xI8(value_rows[index / 4u]));
}

// What the row that starts at an element is multiplied by.
fn key_scale(start: u32) -> f32 {
    return key_scales[start / (4u * QUADS)];
}

fn value_scale(start: u32) -> f32 {
    return value_scales[start / (4u * QUADS)];
}
