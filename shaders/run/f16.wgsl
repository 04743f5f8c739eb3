// Runs of eight f16 values: one load.

@group(0) @binding(2) var<storage, read> values: array<vec4<u32>>; // two a word

const RUN = 8u;

// Values RUN * run .. of the stored row that starts at word `first`, four by four.
fn load_run(first: u32, run: u32) -> array<vec4<f32>, 2> {
    let words = values[first / 4u + run];
    return array<vec4<f32>, 2>(
        vec4<f32>(unpack2x16float(words.x), unpack2x16float(words.y)),
        vec4<f32>(unpack2x16float(words.z), unpack2x16float(words.w)),
    );
}
