// Runs of eight f32 values.

@group(0) @binding(2) var<storage, read> values: array<vec4<f32>>; // rows of a multiple of 8 values

const RUN = 8u;

// Values RUN * run .. of the stored row that starts at word `first`, four by four.
fn load_run(first: u32, run: u32) -> array<vec4<f32>, 2> {
    let at = first / 4u + 2u * run;
    return array<vec4<f32>, 2>(values[at], values[at + 1u]);
}
