// One lane per element: neighbouring lanes write neighbours.

import package::lib::grid::linear_workgroup;
import package::variant::WORKGROUP_SIZE;

struct Params {
    count: u32, // elements of the result of this launch
    channels: u32, // of x
    height: u32,
    width: u32,
    out_height: u32, // windows along each axis
    out_width: u32,
    kernel_height: u32,
    kernel_width: u32,
    stride_y: u32,
    stride_x: u32,
    padding_y: u32,
    padding_x: u32,
    dilation_y: u32,
    dilation_x: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>; // [images, channels, height, width]
@group(0) @binding(8) var<storage, read_write> out: array<u32>; // [images * out_height * out_width, channels * taps]

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
    let taps = params.kernel_height * params.kernel_width;
    let patch_length = params.channels * taps;
    let window = index / patch_length;
    let element = index % patch_length;
    let tap = element % taps;
    let line = window / params.out_width;
    let image = line / params.out_height;
    // Places counted from the start of the padding.
    let row = line % params.out_height * params.stride_y + tap / params.kernel_width * params.dilation_y;
    let column = window % params.out_width * params.stride_x + tap % params.kernel_width * params.dilation_x;
    var value = 0u;
    if (row >= params.padding_y && row - params.padding_y < params.height
        && column >= params.padding_x && column - params.padding_x < params.width) {
        let plane = image * params.channels + element / taps;
        value = x[(plane * params.height + row - params.padding_y) * params.width + column - params.padding_x];
    }
    out[index] = value;
}
