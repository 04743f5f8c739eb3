// Four f16 multiply-adds a step.

enable f16;

alias Link = vec4<f16>;

fn start(seed: u32) -> Link {
    return vec4<f16>(f16(seed), f16(seed + 1u), f16(seed + 2u), f16(seed + 3u));
}

fn advance(link: Link, factor: u32, addend: u32) -> Link {
    return fma(link, vec4<f16>(f16(bitcast<f32>(factor))), vec4<f16>(f16(bitcast<f32>(addend))));
}

fn bits(link: Link) -> vec4<u32> {
    return bitcast<vec4<u32>>(vec4<f32>(link));
}
