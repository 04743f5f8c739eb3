//! Transposition: `out[c, r] = x[r, c]` for 32-bit elements, moved as words.
//!
//! Reading along rows and writing along columns wastes most of every memory transaction on one of
//! the two sides; a square turned in workgroup memory runs along rows on both.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::record::{
    Access, Bound, Cost, HostOperands, Iterations, Launch, Output, Part, Slot, Values, params,
};
use crate::shader::{Capabilities, Edit, Variant};

use super::shape::{ShapeError, check_extents, check_index};
use super::window::{Window, ranges};
use super::{Case, DataKind, Effort, Kernel, Workload, WorkloadError};

const NAME: &str = "transpose";
const X: u32 = 1;
const OUT: u32 = 8;

params! {
    struct Params {
        rows: u32,
        columns: u32,
        source_offset: u32,
        source_row_stride: u32,
        target_offset: u32,
        target_row_stride: u32,
    }
}

/// A matrix of 32-bit elements to transpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transpose {
    /// Rows of the source, columns of the result.
    pub rows: u32,
    /// Columns of the source, rows of the result.
    pub columns: u32,
}

impl Transpose {
    /// Checks the shape and makes a launch of it.
    ///
    /// # Errors
    /// [`ShapeError`] for empty extents and more elements than 32 bits index.
    pub fn launch(self) -> Result<Arc<dyn Launch>, ShapeError> {
        let Self { rows, columns } = self;
        check_extents(NAME, &[("rows", rows.into()), ("columns", columns.into())])?;
        check_index(NAME, "rows * columns", u64::from(rows) * u64::from(columns))?;
        let source = Window {
            offset: 0,
            row_stride: columns,
        };
        let target = Window {
            offset: 0,
            row_stride: rows,
        };
        Ok(Arc::new(TransposeLaunch {
            rows,
            columns,
            source,
            target,
        }))
    }
}

/// The launch: a matrix, or the rectangle of one that fits a binding limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct TransposeLaunch {
    rows: u32,
    columns: u32,
    source: Window,
    target: Window,
}

impl TransposeLaunch {
    const fn is_part(&self) -> bool {
        self.source.row_stride != self.columns || self.target.row_stride != self.rows
    }
}

impl Launch for TransposeLaunch {
    fn kernel(&self) -> &'static str {
        NAME
    }

    fn describe(&self) -> String {
        let part = if self.is_part() { " part" } else { "" };
        format!("rows={} columns={}{part}", self.rows, self.columns)
    }

    fn slots(&self) -> Vec<Slot> {
        let read = 4 * self.source.end(self.rows, self.columns);
        let written = 4 * self.target.end(self.columns, self.rows);
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
            rows: self.rows,
            columns: self.columns,
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

    fn variants(&self, capabilities: &Capabilities) -> Vec<Variant> {
        let tile = |extent, lanes| {
            Variant::new("transpose/tile")
                .number("TILE", extent)
                .number("WORKGROUP_SIZE", lanes)
        };
        let direct = Variant::new(NAME).number("WORKGROUP_SIZE", 64);
        let mut variants = vec![direct, tile(16, 64), tile(32, 256)];
        if !capabilities.software {
            // Caches of a CPU serve columns; hardware wants the square.
            variants.rotate_right(1);
        }
        variants
    }

    fn workgroups(&self, variant: &Variant) -> u64 {
        if variant.entry() == NAME {
            let elements = u64::from(self.rows) * u64::from(self.columns);
            return elements.div_ceil(u64::from(variant.get("WORKGROUP_SIZE")));
        }
        let tile = variant.get("TILE");
        u64::from(self.rows.div_ceil(tile)) * u64::from(self.columns.div_ceil(tile))
    }

    fn iterations(&self, _variant: &Variant) -> Iterations {
        // A tile's loops are short and of constant length.
        Iterations::default()
    }

    fn reference(&self, operands: &HostOperands<'_>) -> Vec<Output> {
        let (x, stride) = (operands.words(X), self.target.row_stride as usize);
        // A part writes columns of the result and leaves the words between them as they are.
        let end = self.target.end(self.columns, self.rows) as usize;
        let before = operands.get(OUT).and_then(|words| words.get(..end));
        let mut out = before.map_or_else(|| vec![0; end], <[u32]>::to_vec);
        for row in 0..self.rows as usize {
            let start = self.source.offset as usize + row * self.source.row_stride as usize;
            for column in 0..self.columns as usize {
                out[self.target.offset as usize + column * stride + row] = x[start + column];
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
            bytes: 8.0 * f64::from(self.rows) * f64::from(self.columns),
        }
    }

    fn split(&self, max_bytes: u64, alignment: u64) -> Option<Vec<Part>> {
        // Rows of the source are columns of the target: each side limits both extents its own way.
        let (source_rows, source_columns) =
            self.source.fitting(self.columns, max_bytes, alignment)?;
        let (target_columns, target_rows) = self.target.fitting(self.rows, max_bytes, alignment)?;
        let mut parts = Vec::new();
        for rows in ranges(self.rows, source_rows.min(target_rows)) {
            for columns in ranges(self.columns, source_columns.min(target_columns)) {
                let (source, read) = self.source.part(&rows, &columns, alignment);
                let (target, written) = self.target.part(&columns, &rows, alignment);
                let (rows, columns) = (rows.end - rows.start, columns.end - columns.start);
                let launch = Arc::new(Self {
                    rows,
                    columns,
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
    Ok(Transpose { rows, columns }.launch()?)
}

/// Registry entry.
pub static KERNEL: Kernel = Kernel {
    name: NAME,
    summary: "the transpose of a matrix of 32-bit elements",
    workload,
    cases,
    broken: BROKEN,
    expected_failures: &[],
};

fn cases(effort: Effort) -> Vec<Case> {
    let mut shapes = vec![
        (1, 1),
        (1, 65),
        (1000, 1),
        (7, 9),
        (16, 16),
        (33, 31),
        (64, 65),
        (100, 37),
    ];
    if effort == Effort::Full {
        shapes.extend([(257, 1000), (1024, 512), (3, 40_001)]);
    }
    let case = |(rows, columns): (u32, u32)| {
        let launch = Transpose { rows, columns }.launch().ok()?;
        let words = (0..rows * columns)
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
        name: "not_transposed",
        module: "transpose",
        find: "params.target_offset + column * params.target_row_stride + row]",
        replace: "params.target_offset + row * params.columns + column]",
    },
    Edit {
        name: "no_column_guard",
        module: "transpose",
        find: "column >= params.columns",
        replace: "column > params.columns",
    },
    Edit {
        name: "missing_barrier",
        module: "transpose/tile",
        find: "    workgroupBarrier();\n",
        replace: "",
    },
    Edit {
        name: "tile_not_turned",
        module: "transpose/tile",
        find: "shared_tile[at % TILE * STRIDE + at / TILE];",
        replace: "shared_tile[at / TILE * STRIDE + at % TILE];",
    },
    Edit {
        name: "rows_of_tiles_counted_wrong",
        module: "transpose/tile",
        find: "(params.columns + TILE - 1u) / TILE",
        replace: "(params.rows + TILE - 1u) / TILE",
    },
    Edit {
        name: "result_stride_of_the_source",
        module: "transpose/tile",
        find: "column * params.target_row_stride + row",
        replace: "column * params.source_row_stride + row",
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::parts_test::check_parts;

    #[test]
    fn rejects_empty_and_too_large_extents() {
        let empty = Transpose {
            rows: 0,
            columns: 3,
        };
        assert!(matches!(
            empty.launch(),
            Err(ShapeError::Zero { name: "rows", .. })
        ));
        let large = Transpose {
            rows: 1 << 16,
            columns: 1 << 16,
        };
        assert!(matches!(
            large.launch(),
            Err(ShapeError::TooLarge {
                name: "rows * columns",
                ..
            })
        ));
    }

    #[test]
    fn transposing_twice_gives_the_matrix_back() {
        let words: Vec<u32> = (0..21).collect();
        let run = |rows, columns, words: &[u32]| {
            let launch = Transpose { rows, columns }.launch().expect("valid");
            let mut operands = HostOperands::default();
            operands.insert(X, words);
            operands.insert(OUT, &[]);
            let mut out = vec![0; words.len()];
            launch.reference(&operands)[0].store(&mut out);
            out
        };
        let turned = run(3, 7, &words);
        assert_eq!(turned[..4], [0, 7, 14, 1]);
        assert_eq!(run(7, 3, &turned), words);
    }

    #[test]
    fn parts_make_what_the_whole_makes() {
        for (rows, columns) in [(40, 30), (3, 1000), (900, 5), (50, 600)] {
            let launch = Transpose { rows, columns }.launch().expect("valid");
            let x: Vec<u32> = (0..rows * columns).collect();
            assert!(check_parts(launch.as_ref(), &[(X, x)], 2048, 256) > 3);
        }
    }
}
