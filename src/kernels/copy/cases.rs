//! Cases: slices, both concatenations, padding, repeated rows, overlapping windows.

use crate::kernels::{Case, DataKind, Effort, Judge};
use crate::record::Access;
use crate::shader::Edit;

use super::{Place, SOURCE, StridedCopy, TARGET, Width};

pub(super) fn cases(effort: Effort) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut shapes = vec![(1, 1), (3, 7), (9, 8), (65, 64), (2, 1000)];
    if effort == Effort::Full {
        shapes.extend([(1000, 65), (257, 1024), (1, 100_003)]);
    }
    for width in [Width::Bits32, Width::Bits16] {
        // Halves come in pairs.
        let scale = width.per_word();
        for &(rows, columns) in &shapes {
            for (source, target) in places(rows, columns) {
                let scaled = |place: Place| Place {
                    offset: place.offset * scale,
                    row_stride: place.row_stride * scale,
                };
                let copy = StridedCopy {
                    rows,
                    columns: columns * scale,
                    width,
                    source: scaled(source),
                    target: scaled(target),
                };
                cases.extend(case(copy));
            }
        }
    }
    cases
}

/// Pairs of places for a rectangle, in words.
fn places(rows: u32, columns: u32) -> Vec<(Place, Place)> {
    let at = |offset, row_stride| Place { offset, row_stride };
    let whole = at(0, columns);
    vec![
        (whole, whole),
        (at(5, columns + 3), whole),                // slice
        (whole, at(columns, 2 * columns)),          // second of two side by side
        (whole, at(rows * columns, columns)),       // second of two on top of each other
        (whole, at(columns + 5, columns + 4)),      // padded
        (at(8, columns + 12), at(16, columns + 4)), // aligned where columns are
        (at(1, 0), at(0, columns + 1)),             // one row repeated
        (at(2, 1), whole),                          // sliding windows
    ]
}

/// The case; `None` only when the shape itself is refused, which the shape tests cover.
fn case(copy: StridedCopy) -> Option<Case> {
    let launch = copy.launch().ok()?;
    let mut operands = Vec::new();
    for slot in launch.slots() {
        // Every word another, NaN patterns and subnormals among them.
        let word = |index: u64| (index as u32 + 1).wrapping_mul(0x9e37_79b9) ^ slot.binding;
        if slot.binding == SOURCE || slot.access == Access::ReadWrite {
            operands.push((
                slot.binding,
                (0..slot.bytes.div_ceil(4)).map(word).collect(),
            ));
        } else {
            // Given to the reference, which reads no value of it.
            operands.push((TARGET, Vec::new()));
        }
    }
    let case = Case::new(launch, operands, DataKind::Integers);
    Some(Case {
        judge: Judge::Bitwise,
        ..case
    })
}

pub(super) const BROKEN: &[Edit] = &[
    Edit {
        name: "source_offset_dropped",
        module: "copy",
        find: "params.source_offset + row",
        replace: "row",
    },
    Edit {
        name: "target_offset_dropped",
        module: "copy",
        find: "params.target_offset + row",
        replace: "row",
    },
    Edit {
        name: "target_rows_packed",
        module: "copy",
        find: "row * params.target_row_stride",
        replace: "row * params.columns",
    },
    Edit {
        name: "source_rows_packed",
        module: "copy",
        find: "row * params.source_row_stride",
        replace: "row * params.columns",
    },
    Edit {
        name: "no_row_guard",
        module: "copy",
        find: "row >= params.rows",
        replace: "row > params.rows",
    },
    Edit {
        name: "last_row_dropped",
        module: "copy",
        find: "row >= params.rows",
        replace: "row + 1u >= params.rows",
    },
    Edit {
        name: "unit_taken_for_a_word",
        module: "copy",
        find: "(index % row_units) * UNIT_WORDS",
        replace: "(index % row_units) * 4u",
    },
];
