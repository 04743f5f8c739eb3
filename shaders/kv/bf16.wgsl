// Keys and values in bf16, four neighbours at a time.

@group(0) @binding(2) var<storage, read> key_rows: array<vec2<u32>>; // two elements a word
@group(0) @binding(3) var<storage, read> value_rows: array<vec2<u32>>;

fn widen4(words: vec2<u32>) -> vec4<f32> {
    let low = words << vec2<u32>(16u);
    let high = words & vec2<u32>(0xffff0000u);
    return bitcast<vec4<f32>>(vec4<u32>(low.x, high.x, low.y, high.y));
}

// Elements index .. index + 3; index is a multiple of 4.
fn load_key4(index: u32) -> vec4<f32> {
    return widen4(key_rows[index / 4u]);
}

fn load_value4(index: u32) -> vec4<f32> {
    return widen4(value_rows[index / 4u]);
}

// What the row that starts at an element is multiplied by.
fn key_scale(start: u32) -> f32 {
    return 1.0;
}

fn value_scale(start: u32) -> f32 {
    return 1.0;
}
