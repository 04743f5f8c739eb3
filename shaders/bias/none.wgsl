fn load_bias(column: u32) -> f32 {
    return 0.0;
}
