// Stored values that are the weights themselves.

fn load_scale(index: u32) -> f32 {
    return 1.0;
}

fn load_scale_pair(index: u32) -> vec2<f32> {
    return vec2<f32>(1.0);
}
