// The mean of the elements inside x.

fn begun() -> u32 {
    return 0u;
}

fn folded(total: u32, bits: u32) -> u32 {
    return bitcast<u32>(bitcast<f32>(total) + bitcast<f32>(bits));
}

fn finished(total: u32, area: f32) -> u32 {
    return bitcast<u32>(bitcast<f32>(total) / area);
}
