//! Transposition of 16-bit elements: `out[c, r] = x[r, c]`, both extents even, moved as words.
//!
//! A word holds two neighbours of a row, so that a square of 2 x 2 elements is two words on either side: lanes take
//! squares, and no two of them write one word.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use crate::record::{
    Access, Bound, Cost, HostOperands, Iterations, Launch, Output, Part, Slot, Values, params,
};
use crate::shader::{Capabilities, Edit, Variant};

use super::shape::{ShapeError, check_extents, check_index};
use super::window::{Window, ranges};
use super::{Case, DataKind, Effort, Kernel, Workload, WorkloadError};

const NAME: &str = "transpose_half";
const X: u32 = 1;
const OUT: u32 = 8;

params! {
    struct Params {
        row_pairs: u32,
        column_pairs: u32,
        source_offset: u32,
        source_row_stride: u32,
        target_offset: u32,
        target_row_stride: u32,
    }
}

/// A matrix of 16-bit elements to transpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransposeHalf {
    /// Rows of the source, columns of the result; even.
    pub rows: u32,
    /// Columns of the source, rows of the result; even.
    pub columns: u32,
}

impl TransposeHalf {
    /// Checks the shape and makes a launch of it.
    ///
    /// # Errors
    /// [`ShapeError`] for empty and odd extents, and for more elements than 32 bits index.
    pub fn launch(self) -> Result<Arc<dyn Launch>, ShapeError> {
        let Self { rows, columns } = self;
        check_extents(NAME, &[("rows", rows.into()), ("columns", columns.into())])?;
        check_index(NAME, "rows * columns", u64::from(rows) * u64::from(columns))?;
        for (name, extent) in [("rows", rows), ("columns", columns)] {
            if extent % 2 != 0 {
                return Err(ShapeError::Unsupported {
                    kernel: NAME,
                    name,
                    value: extent.to_string(),
                    allowed: "an even extent: words hold two elements",
                });
            }
        }
        let (row_pairs, column_pairs) = (rows / 2, columns / 2);
        let window = |row_stride| Window {
            offset: 0,
            row_stride,
        };
        Ok(Arc::new(HalfLaunch {
            row_pairs,
            column_pairs,
            source: window(column_pairs),
            target: window(row_pairs),
        }))
    }
}

/// The launch: a matrix, or the rectangle of one that fits a binding limit. Windows count in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct HalfLaunch {
    row_pairs: u32,
    column_pairs: u32,
    source: Window,
    target: Window,
}

impl HalfLaunch {
    const fn is_part(&self) -> bool {
        self.source.row_stride != self.column_pairs || self.target.row_stride != self.row_pairs
    }
}

impl Launch for HalfLaunch {
    fn kernel(&self) -> &'static str {
        NAME
    }

    fn describe(&self) -> String {
        let part = if self.is_part() { " part" } else { "" };
        let (rows, columns) = (2 * self.row_pairs, 2 * self.column_pairs);
        format!("rows={rows} columns={columns}{part}")
    }

    fn slots(&self) -> Vec<Slot> {
        let read = 4 * self.source.end(2 * self.row_pairs, self.column_pairs);
        let written = 4 * self.target.end(2 * self.column_pairs, self.row_pairs);
        vec![
            Slot {
                binding: X,
                name: "x",
                access: Access::Read,
                bytes: read,
            },
            Slot {
                binding: OUT,
                name: "out",
                access: Access::Write,
                bytes: written,
            },
        ]
    }

    fn params(&self) -> Vec<u8> {
        let params = Params {
            row_pairs: self.row_pairs,
            column_pairs: self.column_pairs,
            source_offset: self.source.offset,
            source_row_stride: self.source.row_stride,
            target_offset: self.target.offset,
            target_row_stride: self.target.row_stride,
        };
        bytemuck::bytes_of(&params).to_vec()
    }

    fn param_fields(&self) -> &'static [(&'static str, usize)] {
        Params::FIELDS
    }

    fn variants(&self, _: &Capabilities) -> Vec<Variant> {
        vec![Variant::new(NAME).number("WORKGROUP_SIZE", 64)]
    }

    fn workgroups(&self, variant: &Variant) -> u64 {
        let squares = u64::from(self.row_pairs) * u64::from(self.column_pairs);
        squares.div_ceil(u64::from(variant.get("WORKGROUP_SIZE")))
    }

    fn iterations(&self, _variant: &Variant) -> Iterations {
        // No loop at all.
        Iterations::default()
    }

    fn reference(&self, operands: &HostOperands<'_>) -> Vec<Output> {
        let x = operands.words(X);
        // A part writes columns of the result and leaves the words between them as they are.
        let end = self.target.end(2 * self.column_pairs, self.row_pairs) as usize;
        let before = operands.get(OUT).and_then(|words| words.get(..end));
        let mut out = before.map_or_else(|| vec![0; end], <[u32]>::to_vec);
        let half = |window: Window, row: usize, column: usize| {
            let word = window.offset as usize + row * window.row_stride as usize + column / 2;
            (word, 16 * (column % 2))
        };
        for row in 0..2 * self.row_pairs as usize {
            for column in 0..2 * self.column_pairs as usize {
                let (from, shift) = half(self.source, row, column);
                let element = x[from] >> shift & 0xffff;
                let (to, shift) = half(self.target, column, row);
                out[to] = out[to] & !(0xffff << shift) | element << shift;
            }
        }
        vec![Output::new(OUT, Values::Words(out))]
    }

    fn bound(&self, _: &HostOperands<'_>) -> Vec<Bound> {
        vec![Bound::Exact]
    }

    fn cost(&self) -> Cost {
        Cost {
            operations: 0.0,
            bytes: 16.0 * f64::from(self.row_pairs) * f64::from(self.column_pairs),
        }
    }

    fn split(&self, max_bytes: u64, alignment: u64) -> Option<Vec<Part>> {
        let Self {
            row_pairs,
            column_pairs,
            source,
            target,
        } = *self;
        let (rows, source_columns) = source.fitting(column_pairs, max_bytes, alignment)?;
        let (columns, target_rows) = target.fitting(row_pairs, max_bytes, alignment)?;
        // Squares are cut nowhere: two whole rows are the least of either side.
        let (rows, columns) = (
            (rows / 2).min(target_rows),
            (columns / 2).min(source_columns),
        );
        if rows == 0 || columns == 0 {
            return None;
        }
        let mut parts = Vec::new();
        for rows in ranges(row_pairs, rows) {
            for columns in ranges(column_pairs, columns) {
                let both = |pairs: &Range<u32>| 2 * pairs.start..2 * pairs.end;
                let (source, read) = source.part(&both(&rows), &columns, alignment);
                let (target, written) = target.part(&both(&columns), &rows, alignment);
                let launch = Arc::new(Self {
                    row_pairs: rows.end - rows.start,
                    column_pairs: columns.end - columns.start,
                    source,
                    target,
                });
                parts.push(Part {
                    launch,
                    ranges: BTreeMap::from([(X, read), (OUT, written)]),
                });
            }
        }
        Some(parts)
    }
}

fn workload(asked: &mut Workload<'_>) -> Result<Arc<dyn Launch>, WorkloadError> {
    let [rows, columns] = asked.extents("ROWSxCOLUMNS")?;
    Ok(TransposeHalf { rows, columns }.launch()?)
}

/// Registry entry.
pub static KERNEL: Kernel = Kernel {
    name: NAME,
    summary: "the transpose of a matrix of 16-bit elements, both extents even",
    workload,
    cases,
    broken: BROKEN,
    expected_failures: &[],
};

fn cases(effort: Effort) -> Vec<Case> {
    let mut shapes = vec![
        (2, 2),
        (2, 66),
        (1000, 2),
        (6, 10),
        (16, 16),
        (34, 30),
        (64, 66),
        (100, 38),
    ];
    if effort == Effort::Full {
        shapes.extend([(258, 1000), (1024, 512), (4, 40_002)]);
    }
    let case = |(rows, columns): (u32, u32)| {
        let launch = TransposeHalf { rows, columns }.launch().ok()?;
        let words = (0..rows * columns / 2)
            .map(|index| (index + 1).wrapping_mul(0x9e37_79b9))
            .collect();
        Some(Case::new(
            launch,
            vec![(X, words), (OUT, Vec::new())],
            DataKind::Integers,
        ))
    };
    shapes.into_iter().filter_map(case).collect()
}

const BROKEN: &[Edit] = &[
    Edit {
        name: "squares_not_turned",
        module: NAME,
        find: "out[destination] = (upper & 0xffffu) | (lower << 16u);",
        replace: "out[destination] = upper;",
    },
    Edit {
        name: "halves_swapped",
        module: NAME,
        find: "(upper & 0xffffu) | (lower << 16u)",
        replace: "(lower & 0xffffu) | (upper << 16u)",
    },
    Edit {
        name: "no_column_guard",
        module: NAME,
        find: "column_pair >= params.column_pairs",
        replace: "column_pair > params.column_pairs",
    },
    Edit {
        name: "one_row_apart",
        module: NAME,
        find: "2u * row_pair * params.source_row_stride",
        replace: "row_pair * params.source_row_stride",
    },
    Edit {
        name: "one_result_row_apart",
        module: NAME,
        find: "2u * column_pair * params.target_row_stride",
        replace: "column_pair * params.target_row_stride",
    },
    Edit {
        name: "second_row_is_the_next_word",
        module: NAME,
        find: "x[source + params.source_row_stride]",
        replace: "x[source + 1u]",
    },
    Edit {
        name: "upper_half_dropped",
        module: NAME,
        find: "(lower & 0xffff0000u)",
        replace: "(lower & 0xfff00000u)",
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::parts_test::check_parts;

    #[test]
    fn rejects_odd_extents() {
        let odd = TransposeHalf {
            rows: 2,
            columns: 3,
        };
        assert!(matches!(
            odd.launch(),
            Err(ShapeError::Unsupported {
                name: "columns",
                ..
            })
        ));
    }

    #[test]
    fn transposing_twice_gives_the_matrix_back() {
        let words: Vec<u32> = (0..12)
            .map(|index| (2 * index) | ((2 * index + 1) << 16))
            .collect();
        let run = |rows, columns, words: &[u32]| {
            let launch = TransposeHalf { rows, columns }.launch().expect("valid");
            let mut operands = HostOperands::default();
            operands.insert(X, words);
            operands.insert(OUT, &[]);
            let mut out = vec![0; words.len()];
            launch.reference(&operands)[0].store(&mut out);
            out
        };
        let turned = run(4, 6, &words);
        assert_eq!(turned[..3], [6 << 16, 12 | 18 << 16, 1 | 7 << 16]);
        assert_eq!(run(6, 4, &turned), words);
    }

    #[test]
    fn parts_make_what_the_whole_makes() {
        for (rows, columns) in [(80, 60), (6, 300), (200, 10), (50, 400)] {
            let launch = TransposeHalf { rows, columns }.launch().expect("valid");
            let x: Vec<u32> = (0..rows * columns / 2).collect();
            assert!(check_parts(launch.as_ref(), &[(X, x)], 2048, 256) > 1);
        }
    }
}
