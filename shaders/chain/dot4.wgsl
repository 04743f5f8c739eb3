// Four integer dot products of four bytes a step, each added to a sum.

alias Link = vec4<i32>;

fn start(seed: u32) -> Link {
    return vec4<i32>(i32(seed), i32(seed + 1u), i32(seed + 2u), i32(seed + 3u));
}

fn advance_one(sum: i32, factor: u32) -> i32 {
    return sum + dot4I8Packed(bitcast<u32>(sum), factor);
}

fn advance(link: Link, factor: u32, addend: u32) -> Link {
    return vec4<i32>(
        advance_one(link.x, factor),
        advance_one(link.y, factor),
        advance_one(link.z, factor),
        advance_one(link.w, factor),
    );
}

fn bits(link: Link) -> vec4<u32> {
    return bitcast<vec4<u32>>(link);
}
