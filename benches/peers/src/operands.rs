//! The operands every contender multiplies: x [m, k] times the transpose of w [n, k].

/// Extents of one product, 2 m n k operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    pub m: usize,
    pub n: usize,
    pub k: usize,
}

/// Uniform values, the same in every process.
#[derive(Debug)]
pub struct Operands {
    pub shape: Shape,
    /// `[m, k]`.
    pub x: Vec<f32>,
    /// `[n, k]`.
    pub w: Vec<f32>,
}

impl Operands {
    pub fn new(shape: Shape) -> Self {
        Self {
            shape,
            x: uniform(1, shape.m * shape.k),
            w: uniform(2, shape.n * shape.k),
        }
    }
}

/// Values in [-1, 1), multiples of 2^-23: SplitMix64 (Steele, Lea, Flood 2014) started at `seed << 32`.
fn uniform(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed << 32;
    (0..count)
        .map(|_| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^= z >> 31;
            (z >> 40) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}
