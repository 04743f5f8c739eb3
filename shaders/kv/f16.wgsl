// Keys and values in f16, four neighbours at a time.

@group(0) @binding(2) var<storage, read> key_rows: array<vec2<u32>>; // two elements a word
@group(0) @binding(3) var<storage, read> value_rows: array<vec2<u32>>;

// Elements index .. index + 3; index is a multiple of 4.
fn load_key4(index: u32) -> vec4<f32> {
    let words = key_rows[index / 4u];
    return vec4<f32>(unpack2x16float(words.x), unpack2x16float(words.y));
}

fn load_value4(index: u32) -> vec4<f32> {
    let words = value_rows[index / 4u];
    return vec4<f32>(unpack2x16float(words.x), unpack2x16float(words.y));
}

// What the row that starts at an element is multiplied by.
fn key_scale(start: u32) -> f32 {
    return 1.0;
}

fn value_scale(start: u32) -> f32 {
    return 1.0;
}
