//! Layers and inputs for tests.

use crate::num::Philox;

/// Normal numbers times 0.1, as weights are.
pub(super) fn normal(count: usize, id: u64) -> Vec<f32> {
    let mut stream = Philox::new(77).stream(id);
    (0..count).map(|_| 0.1 * stream.normal()).collect()
}

/// Inputs `[m, k]` whose features share a few causes and differ in size.
pub(super) fn correlated(m: usize, k: usize, id: u64) -> Vec<f32> {
    const CAUSES: usize = 6;
    let mut stream = Philox::new(78).stream(id);
    let mixing: Vec<f32> = (0..CAUSES * k).map(|_| stream.normal()).collect();
    let sizes: Vec<f32> = (0..k).map(|_| (0.8 * stream.normal()).exp()).collect();
    let mut x = Vec::with_capacity(m * k);
    for _ in 0..m {
        let causes: Vec<f32> = (0..CAUSES).map(|_| stream.normal()).collect();
        for (column, size) in sizes.iter().enumerate() {
            let shared: f32 = causes
                .iter()
                .zip(mixing[column..].iter().step_by(k))
                .map(|(cause, weight)| cause * weight)
                .sum();
            x.push(size * (shared + 0.5 * stream.normal()));
        }
    }
    x
}
