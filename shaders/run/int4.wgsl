// Runs of thirty-two int4 codes, kept as q + 8: one load.

@group(0) @binding(2) var<storage, read> values: array<vec4<u32>>; // eight a word

const RUN = 32u;

fn low_codes(word: u32) -> vec4<f32> {
    return vec4<f32>(unpack4xI8(word & 0x0f0f0f0fu) - 8i);
}

fn high_codes(word: u32) -> vec4<f32> {
    return vec4<f32>(unpack4xI8((word >> 4u) & 0x0f0f0f0fu) - 8i);
}

// Codes RUN * run .. of the stored row that starts at word `first`, four by four.
fn load_run(first: u32, run: u32) -> array<vec4<f32>, 8> {
    let words = values[first / 4u + run];
    return array<vec4<f32>, 8>(
        low_codes(words.x), high_codes(words.x), low_codes(words.y), high_codes(words.y),
        low_codes(words.z), high_codes(words.z), low_codes(words.w), high_codes(words.w),
    );
}
