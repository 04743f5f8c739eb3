// Four f32 multiply-adds a step.

alias Link = vec4<f32>;

fn start(seed: u32) -> Link {
    return vec4<f32>(f32(seed), f32(seed + 1u), f32(seed + 2u), f32(seed + 3u));
}

fn advance(link: Link, factor: u32, addend: u32) -> Link {
    return fma(link, vec4<f32>(bitcast<f32>(factor)), vec4<f32>(bitcast<f32>(addend)));
}

fn bits(link: Link) -> vec4<u32> {
    return bitcast<vec4<u32>>(link);
}
