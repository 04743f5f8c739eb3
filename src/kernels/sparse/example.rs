//! Valid content for timing: as many weights a row as the shape says, spread over its columns at random.

use crate::num::{Philox, SparseLayout, Stream};
use crate::record::{Slot, example_operands};

use super::{PLACES, STARTS, SparseMatmul};

/// Operands of a launch by binding.
pub fn operands(shape: &SparseMatmul, slots: &[Slot], seed: u64) -> Vec<(u32, Vec<u32>)> {
    let mut operands = example_operands(slots, seed);
    let mut random = Philox::new(seed).stream(u64::MAX);
    let (places, starts) = match shape.format.layout {
        SparseLayout::Nm(_) => (indices(shape, &mut random), Vec::new()),
        SparseLayout::Block(_) => blocks(shape, &mut random),
        SparseLayout::Delta(_) => deltas(shape, &mut random),
    };
    for (binding, words) in &mut operands {
        match *binding {
            PLACES => words.clone_from(&places),
            STARTS => words.clone_from(&starts),
            _ => {}
        }
    }
    operands
}

type Random = Stream;

/// `count` of `total` things in rising order, at random.
fn choose(count: u32, total: u32, random: &mut Random) -> Vec<u32> {
    let mut chosen = Vec::with_capacity(count as usize);
    for at in 0..total {
        let wanted = count - chosen.len() as u32;
        if wanted > 0 && random.below(total - at) < wanted {
            chosen.push(at);
        }
    }
    chosen
}

fn indices(shape: &SparseMatmul, random: &mut Random) -> Vec<u32> {
    let SparseLayout::Nm(pattern) = shape.format.layout else {
        return Vec::new();
    };
    let bits = pattern.index_bits() as usize;
    let stride = shape.index_words() as usize;
    let vectors = shape.n.div_ceil(pattern.vector()) as usize;
    let mut words = vec![0u32; vectors * stride];
    for row in words.chunks_exact_mut(stride) {
        let mut at = 0;
        for _ in 0..shape.k / pattern.m() {
            for index in choose(pattern.n(), pattern.m(), random) {
                row[at / 32] |= index << (at % 32);
                at += bits;
            }
        }
    }
    words
}

/// How many of `count` things the `index`th of `rows` rows gets.
fn share(count: u32, rows: u32, index: u32) -> u32 {
    let upto = |index: u32| u64::from(count) * u64::from(index) / u64::from(rows);
    (upto(index + 1) - upto(index)) as u32
}

fn blocks(shape: &SparseMatmul, random: &mut Random) -> (Vec<u32>, Vec<u32>) {
    let SparseLayout::Block(block) = shape.format.layout else {
        return (Vec::new(), Vec::new());
    };
    let [rows, columns] = block.grid(shape.n as usize, shape.k as usize);
    let (mut places, mut starts) = (Vec::new(), vec![0]);
    for row in 0..rows as u32 {
        let count = share(shape.stored.count, rows as u32, row);
        places.extend(choose(count, columns as u32, random));
        starts.push(places.len() as u32);
    }
    if places.is_empty() {
        places.push(0);
    }
    (places, starts)
}

fn deltas(shape: &SparseMatmul, random: &mut Random) -> (Vec<u32>, Vec<u32>) {
    let SparseLayout::Delta(bits) = shape.format.layout else {
        return (Vec::new(), Vec::new());
    };
    let (_, words) = shape.place_words();
    let mut places = vec![0u32; words as usize];
    let mut starts = vec![0];
    let (multiple, mut entry) = (shape.row_multiple(), 0usize);
    for row in 0..shape.n {
        let count = share(shape.stored.count / multiple, shape.n, row) * multiple;
        let mut column = 0;
        for at in 0..count {
            // Twice the mean distance at most, and never past the last column.
            let mean = (shape.k / count.max(1)).max(1);
            let widest = (mean.saturating_mul(2) - 1).min(bits.max() as u32);
            let room = shape.k - 1 - column;
            let delta = if at == 0 {
                random.below(widest.min(room + 1))
            } else {
                (1 + random.below(widest)).min(room)
            };
            column += delta;
            let bit = entry * bits.bits() as usize;
            places[bit / 32] |= delta << (bit % 32);
            entry += 1;
        }
        starts.push(entry as u32);
    }
    (places, starts)
}
