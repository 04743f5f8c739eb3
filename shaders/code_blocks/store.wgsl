// A block of 32 values as int8 codes with their scale, and the sum of the codes of each of its segments.

import package::quantize_rows::code::{largest_of, magnitude_bits, quantize4, scale_of};

@group(0) @binding(7) var<storage, read_write> codes: array<vec4<u32>>; // [m, k / 16], 16 a vector
@group(0) @binding(8) var<storage, read_write> blocks: array<u32>; // f32 [m, segments], i32 [m, segments]

// Where the scales and the sums of a launch begin, and into how many segments a block falls: 1, 2 or 4.
struct BlockPlace {
    scales_start: u32,
    sums_start: u32,
    segments: u32,
}

// `block` counts the blocks of all rows of the launch.
fn store_block(block: u32, values: array<vec4<f32>, 8>, place: BlockPlace) {
    var most = vec4<u32>();
    for (var quad = 0u; quad < 8u; quad++) {
        most = max(most, magnitude_bits(values[quad]));
    }
    let scales = scale_of(bitcast<f32>(largest_of(most)));

    var words: array<u32, 8>;
    var sums: array<i32, 4>; // of eight codes each
    for (var quad = 0u; quad < 8u; quad++) {
        let q = quantize4(values[quad], scales.y);
        words[quad] = pack4xI8(q);
        sums[quad / 2u] += q.x + q.y + q.z + q.w;
    }
    codes[2u * block] = vec4<u32>(words[0], words[1], words[2], words[3]);
    codes[2u * block + 1u] = vec4<u32>(words[4], words[5], words[6], words[7]);
    if (place.segments < 4u) {
        sums[0] += sums[1];
        sums[1] = sums[2] + sums[3];
    }
    if (place.segments < 2u) {
        sums[0] += sums[1];
    }
    for (var segment = 0u; segment < 4u; segment++) {
        if (segment < place.segments) {
            let at = block * place.segments + segment;
            blocks[place.scales_start + at] = bitcast<u32>(scales.x);
            blocks[place.sums_start + at] = bitcast<u32>(sums[segment]);
        }
    }
}
