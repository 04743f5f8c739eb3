// Keys and values in f32, four neighbours at a time.

@group(0) @binding(2) var<storage, read> key_rows: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> value_rows: array<vec4<f32>>;

// Elements index .. index + 3; index is a multiple of 4.
fn load_key4(index: u32) -> vec4<f32> {
    return key_rows[index / 4u];
}

fn load_value4(index: u32) -> vec4<f32> {
    return value_rows[index / 4u];
}

// What the row that starts at an element is multiplied by.
fn key_scale(start: u32) -> f32 {
    return 1.0;
}

fn value_scale(start: u32) -> f32 {
    return 1.0;
}
