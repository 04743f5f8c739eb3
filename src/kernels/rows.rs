//! What kernels over rows share: one lane or one workgroup a row, and the slots and cuts that follow.

use std::sync::Arc;

use crate::record::{Access, Iterations, Launch, Part, Slot};
use crate::shader::{Capabilities, Variant};

use super::FloatType;
use super::iterations::looped;
use super::shape::{ShapeError, check_extents, check_index};
use super::split::{Streams, Tile, cut};

/// Longest row: past it a f32 sum has no bound worth the name (`gamma` of 2^22 terms is 1).
const MAX_COLUMNS: u64 = 1 << 22;

/// Longest row for a single lane: a poor choice long before, on any adapter.
const MAX_LANE_COLUMNS: u64 = 1 << 15;

/// Rows longer than this get workgroups of 256 instead of 64.
const LONG_ROW: u64 = 2048;

/// Extents and stored types of a kernel over rows.
#[derive(Debug, Clone, Copy)]
pub(super) struct RowExtents {
    pub rows: u64,
    pub columns: u64,
}

impl RowExtents {
    /// Refuses empty extents, rows too long to sum, and more elements than 32 bits index.
    pub fn check(self, kernel: &'static str) -> Result<(), ShapeError> {
        let Self { rows, columns } = self;
        check_extents(kernel, &[("rows", rows), ("columns", columns)])?;
        if columns > MAX_COLUMNS {
            return Err(ShapeError::TooLarge {
                kernel,
                name: "columns",
                value: columns,
                limit: MAX_COLUMNS,
                reason: "longer f32 sums have no useful error bound",
            });
        }
        check_index(kernel, "rows * columns", rows * columns)
    }

    /// The variants of `entry`: a lane a row, first where a CPU runs it, and a workgroup a row.
    pub fn variants(self, variant: &Variant, capabilities: &Capabilities) -> Vec<Variant> {
        let lanes = if self.columns > LONG_ROW { 256 } else { 64 };
        let many = |reduce, lanes| {
            let variant = variant.clone().slot("lanes", "many");
            variant
                .slot("reduce", reduce)
                .number("WORKGROUP_SIZE", lanes)
        };
        let mut variants = vec![many("shared", lanes)];
        if capabilities.subgroups {
            variants.push(many("subgroup", lanes));
        }
        if self.columns <= MAX_LANE_COLUMNS {
            let one = variant.clone().slot("lanes", "one").slot("reduce", "none");
            // Lanes of hardware should read neighbours; a CPU wants no barriers.
            let place = if capabilities.software {
                0
            } else {
                variants.len()
            };
            variants.insert(place, one.number("WORKGROUP_SIZE", 64));
        }
        // A row by itself would leave all other lanes of a CPU's vectors idle.
        let subgroup = capabilities
            .subgroup_size()
            .filter(|_| capabilities.software);
        if let Some(size) = subgroup.filter(|&size| self.rows < size.into()) {
            variants.insert(0, many("subgroup", size));
        }
        variants
    }

    /// Workgroups of a variant made by [`Self::variants`].
    pub fn workgroups(self, variant: &Variant) -> u64 {
        if variant.chosen("lanes") == Some("one") {
            self.rows.div_ceil(variant.get("WORKGROUP_SIZE").into())
        } else {
            self.rows
        }
    }

    /// Iterations of `passes` passes over the row and `reductions` sums over its lanes.
    pub fn iterations(self, variant: &Variant, passes: u64, reductions: u64) -> Iterations {
        let lanes = u64::from(variant.get("WORKGROUP_SIZE"));
        let count = if variant.chosen("lanes") == Some("one") {
            passes * looped(self.columns, 0)
        } else {
            passes * looped(self.columns.div_ceil(lanes), 0) + reductions * looped(lanes, 0)
        };
        Iterations {
            unrolled: count,
            rolled: count,
        }
    }
}

/// Refuses 16-bit results whose rows would share words.
pub(super) fn check_pairs(
    kernel: &'static str,
    out: FloatType,
    (name, run): (&'static str, u32),
) -> Result<(), ShapeError> {
    if out != FloatType::F32 && !run.is_multiple_of(2) {
        return Err(ShapeError::NotMultiple {
            kernel,
            name,
            value: run.into(),
            of: "elements in a word,",
            multiple: 2,
        });
    }
    Ok(())
}

/// A slot that is read.
pub(super) const fn read(binding: u32, name: &'static str, bytes: u64) -> Slot {
    Slot {
        binding,
        name,
        access: Access::Read,
        bytes,
    }
}

/// A slot that is written.
pub(super) const fn write(binding: u32, name: &'static str, bytes: u64) -> Slot {
    Slot {
        binding,
        name,
        access: Access::Write,
        bytes,
    }
}

/// Bytes of all slots.
pub(super) fn slot_bytes(slots: &[Slot]) -> f64 {
    slots.iter().map(|slot| slot.bytes as f64).sum()
}

/// Parts by runs of `rows`: operands in `whole` are bound whole, the others have the same bytes for
/// each row. `make` gives the launch of a run.
pub(super) fn parts(
    rows: u32,
    slots: &[Slot],
    whole: &[u32],
    (max_bytes, alignment): (u64, u64),
    make: impl Fn(std::ops::Range<u32>) -> Arc<dyn Launch>,
) -> Option<Vec<Part>> {
    let mut streams = Streams::default();
    for slot in slots {
        if whole.contains(&slot.binding) {
            streams.whole.push((slot.binding, slot.bytes));
        } else {
            streams
                .by_row
                .push((slot.binding, slot.bytes / u64::from(rows)));
        }
    }
    let part = |tile: Tile| Part {
        launch: make(tile.rows),
        ranges: tile.ranges,
    };
    let tiles = cut(rows, 1, &streams, max_bytes, alignment)?;
    Some(tiles.into_iter().map(part).collect())
}
