// The operation has one operand.

fn load_b(index: u32) -> f32 {
    return 0.0;
}
