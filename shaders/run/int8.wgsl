// Runs of sixteen int8 codes: one load.

@group(0) @binding(2) var<storage, read> values: array<vec4<u32>>; // four a word

const RUN = 16u;

// Codes RUN * run .. of the stored row that starts at word `first`, four by four.
fn load_run(first: u32, run: u32) -> array<vec4<f32>, 4> {
    let words = values[first / 4u + run];
    return array<vec4<f32>, 4>(
        vec4<f32>(unpack4xI8(words.x)),
        vec4<f32>(unpack4xI8(words.y)),
        vec4<f32>(unpack4xI8(words.z)),
        vec4<f32>(unpack4xI8(words.w)),
    );
}
