// Arithmetic as fast as the adapter goes: each invocation takes `steps` steps of four operations each,
// dealt to CHAINS independent chains and one more each, with nothing to load or store in between.

import package::lib::grid::linear_workgroup;
import package::variant::{CHAINS, WORKGROUP_SIZE};
import package::roofline::params::params;
import package::chain::{Link, start, advance, bits};

// Steps of a chain in one pass of the loop: enough that the loop itself costs nothing.
const REPEATS = 16u;

@group(0) @binding(1) var<storage, read> data: array<u32>; // factor and addend, so that no compiler knows them
@group(0) @binding(8) var<storage, read_write> out: array<u32>; // [count]

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = linear_workgroup(workgroup, workgroups) * WORKGROUP_SIZE + lane;
    if (index >= params.count) {
        return;
    }
    let factor = data[0];
    let addend = data[1];
    var links: array<Link, CHAINS>;
    for (var chain = 0u; chain < CHAINS; chain++) {
        links[chain] = start(index % 61u + chain);
    }
    for (var step = 0u; step < params.steps; step += CHAINS * REPEATS) {
        for (var repeat = 0u; repeat < REPEATS; repeat++) {
            for (var chain = 0u; chain < CHAINS; chain++) {
                links[chain] = advance(links[chain], factor, addend);
            }
        }
    }
    var folded = 0u;
    for (var chain = 0u; chain < CHAINS; chain++) {
        // One step more makes their number odd: after an even one a missing addend would not show.
        let words = bits(advance(links[chain], factor, addend));
        folded ^= words.x ^ words.y ^ words.z ^ words.w;
    }
    out[index] = folded;
}
