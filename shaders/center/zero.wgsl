// Around zero, without addend: RMS normalization.

fn mean_of_row(row: u32, lane: u32) -> f32 {
    return 0.0;
}

fn load_beta(channel: u32) -> f32 {
    return 0.0;
}
