//! Work over a result's pieces, on as many threads as there are.

use rayon::prelude::*;

/// Elements below which a piece of work is not worth a thread.
const WORTH_A_THREAD: usize = 4096;

/// Cuts `result` into pieces of `width` elements, the last one maybe shorter, and has `work` fill each, by its
/// index. `cost` says how many multiply-adds or elements a piece takes. What `work` keeps from one piece to the
/// next is made by `scratch`.
pub fn fill<T: Send, S>(
    result: &mut [T],
    (width, cost): (usize, usize),
    scratch: impl Fn() -> S + Sync + Send,
    work: impl Fn(&mut S, usize, &mut [T]) + Sync + Send,
) {
    let least = WORTH_A_THREAD.div_ceil(cost.max(1));
    result
        .par_chunks_mut(width)
        .enumerate()
        .with_min_len(least)
        .for_each_init(scratch, |scratch, (index, piece)| {
            work(scratch, index, piece);
        });
}
