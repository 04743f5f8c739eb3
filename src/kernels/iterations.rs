//! Counting loop iterations of one invocation, for drivers that stop after some number of them.
//!
//! The last look at a loop's condition counts too. Counts are upper bounds.

use crate::record::Iterations;
use crate::shader::Variant;

use super::path::{Sharing, sharing};

/// Iterations of `count` passes through a loop whose body has `body` iterations of its own.
pub(super) const fn looped(count: u64, body: u64) -> u64 {
    count * (body + 1) + 1
}

/// Adding a tile of `m` by `n` products once: load the columns, then each row against all columns.
const fn tile_step(m: u64, n: u64) -> u64 {
    looped(n, looped(m, 0)) + looped(m, looped(n, 0))
}

/// A register tile of `m` by `n` that takes `steps` steps along k in `groups` groups: tile loops are
/// unrolled, or nothing is.
pub(super) const fn register_tile((m, n): (u64, u64), groups: u64, steps: u64) -> Iterations {
    let rolled =
        looped(groups, looped(n, 0) + looped(m, looped(n, 0)) + 1) + looped(steps, tile_step(m, n));
    Iterations {
        unrolled: looped(groups, 1) + looped(steps, 0),
        rolled: rolled + setup(m, n),
    }
}

/// A shared-memory tile: `rounds` rounds along k, in each of which a lane loads `loads` elements or
/// steps and then takes `terms` terms.
pub(super) const fn shared_tile(
    (m, n): (u64, u64),
    rounds: u64,
    loads: u64,
    terms: u64,
) -> Iterations {
    let fill = loads + 2;
    Iterations {
        unrolled: looped(rounds, fill + looped(terms, 0)) + 1,
        rolled: looped(rounds, fill + looped(terms, tile_step(m, n))) + setup(m, n),
    }
}

/// A tile shared by a subgroup: `steps` steps along k in `segments` segments, each step of `quads` quads.
pub(super) fn subgroup_tile(
    variant: &Variant,
    segments: u64,
    steps: u64,
    quads: u64,
) -> Iterations {
    let number = |name| u64::from(variant.get(name));
    let (m, n, lanes) = (number("TILE_M"), number("TILE_N"), number("SUBGROUP"));
    let outputs = looped(m, looped(lanes, looped(n, 0)));
    let step = looped(n, 1) + looped(m, 0) + looped(quads, looped(n, 0) + outputs);
    // Sums are taken over once a segment, and once a chunk of 64 steps.
    let flushes = segments + steps / 64;
    Iterations {
        unrolled: looped(segments, 2) + looped(steps, 1),
        rolled: looped(segments, 2 * outputs + looped(n, 0))
            + looped(steps, step)
            + looped(flushes, outputs)
            + 2 * outputs
            + setup(m, n),
    }
}

/// Rows made by a subgroup that shares its loads of x: as [`subgroup_tile`].
pub(super) fn subgroup_rows(
    variant: &Variant,
    segments: u64,
    steps: u64,
    quads: u64,
) -> Iterations {
    let number = |name| u64::from(variant.get(name));
    let (m, n) = (number("COLUMNS"), number("ROWS"));
    let outputs = looped(m, looped(n, 0));
    // A lane holds one or two quads of a run, and scales of one or two segments at a time.
    let step = looped(n, 0) + looped(m, looped(2, 0)) + looped(quads, looped(n, 0) + outputs);
    // Cache lines are touched first: a step has at most half of one in each row.
    let lines = looped(n * steps.div_ceil(2), 0);
    Iterations {
        unrolled: looped(segments, 2) + looped(steps, 0) + lines,
        rolled: looped(
            segments,
            outputs + looped(n, looped(2, 0)) + looped(n, 0) + looped(n, looped(m, 0)) + 2,
        ) + looped(steps, step)
            + lines
            + outputs
            + setup(m, n),
    }
}

/// Steps dealt to the lanes of a workgroup, whose sums are reduced once.
pub(super) fn split_steps(variant: &Variant, steps: u64, quads: u64) -> Iterations {
    let number = |name| u64::from(variant.get(name));
    let (m, n) = (number("COLUMNS"), number("ROWS"));
    let per_lane = steps.div_ceil(number("WORKGROUP_SIZE"));
    let step = looped(quads, looped(n, 0)) + looped(n, 1) + looped(m, looped(n, looped(quads, 0)));
    Iterations {
        unrolled: looped(per_lane, 0) + reductions(variant),
        rolled: looped(per_lane, step) + reductions(variant) + setup(m, n),
    }
}

/// Loops before and after the sums: addresses, and the epilogue.
const fn setup(m: u64, n: u64) -> u64 {
    looped(m, 0) + looped(n, 0) + looped(m, looped(n, 0))
}

/// A product with packed weights, of whichever entry: `groups` runs along k that share a scale, each of
/// `group_steps` steps.
pub(super) fn product(variant: &Variant, groups: u64, group_steps: u64) -> Iterations {
    let number = |name| u64::from(variant.get(name));
    if sharing(variant) == Sharing::Rows {
        let (m, n) = (number("COLUMNS"), number("ROWS"));
        let runs = groups * group_steps.div_ceil(number("RUN_STEPS"));
        let per_lane = runs.div_ceil(number("LANES"));
        let steps = group_steps.min(number("RUN_STEPS"));
        let rolled = looped(n, 0) + looped(steps, tile_step(m, n)) + looped(m, looped(n, 0));
        return Iterations {
            unrolled: looped(per_lane, looped(steps, 0)) + reductions(variant),
            rolled: looped(per_lane, rolled) + reductions(variant) + setup(m, n),
        };
    }
    let tile = (number("TILE_M"), number("TILE_N"));
    if sharing(variant) == Sharing::Shared {
        let steps_per_round = number("TILE_K") / 8;
        let elements = (tile.0 * number("LANES_M") + tile.1 * number("LANES_N")) * steps_per_round;
        let rounds = (groups * group_steps).div_ceil(steps_per_round);
        return shared_tile(
            tile,
            rounds,
            elements.div_ceil(number("WORKGROUP_SIZE")) + 1,
            2 * steps_per_round,
        );
    }
    register_tile(tile, groups, groups * group_steps)
}

/// A product of packed integers by whole rows: `segments` runs along k with exact sums, each of
/// `segment_steps` steps, dealt to the lanes whole or, when there are too few, split and reduced one by
/// one.
pub(super) fn integer_rows(variant: &Variant, segments: u64, segment_steps: u64) -> Iterations {
    let number = |name| u64::from(variant.get(name));
    let (m, n, lanes) = (number("COLUMNS"), number("ROWS"), number("LANES"));
    let (rounds, steps, reduced) = if segments >= lanes {
        (segments.div_ceil(lanes), segment_steps, 0)
    } else {
        (segments, segment_steps.div_ceil(lanes), reductions(variant))
    };
    let rolled = looped(steps, tile_step(m, n)) + looped(n, looped(m, 0)) + reduced;
    Iterations {
        unrolled: looped(rounds, looped(steps, 0) + reduced) + reductions(variant),
        rolled: looped(rounds, rolled) + reductions(variant) + setup(m, n),
    }
}

/// Reducing a tile's sums over a workgroup: one pass over the lanes for each sum at most.
fn reductions(variant: &Variant) -> u64 {
    let number = |name| u64::from(variant.get(name));
    match variant.chosen("reduce_many") {
        None | Some("none") => 0,
        Some(_) => looped(number("SUMS"), number("WORKGROUP_SIZE") + 3),
    }
}
