//! Strided copy: `target[offset_t + r * stride_t + c] = source[offset_s + r * stride_s + c]` for a
//! rectangle of `rows` by `columns`, everything else of the target keeps its value.
//!
//! Slicing, concatenation and padding are all this. Elements of 16 bits move in pairs, as words, so
//! that no two lanes ever write one word; what splits a pair is refused. A source row stride of 0
//! repeats one row.

mod cases;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::record::{
    Access, Bound, Cost, HostOperands, Iterations, Launch, Output, Part, Slot, Values, params,
};
use crate::shader::{Capabilities, Variant};

use super::shape::{ShapeError, check_extents, check_index, check_multiple};
use super::window::{Window, ranges};
use super::{Kernel, Workload, WorkloadError};

const NAME: &str = "copy";
const SOURCE: u32 = 1;
const TARGET: u32 = 8;

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

/// Bits of one element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    /// 16: two a word; columns, offsets and strides must be even.
    Bits16,
    /// 32.
    Bits32,
}

impl Width {
    const fn bits(self) -> u32 {
        match self {
            Self::Bits16 => 16,
            Self::Bits32 => 32,
        }
    }

    const fn per_word(self) -> u32 {
        32 / self.bits()
    }
}

/// Where the rectangle lies in a tensor, in elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Index of the first element.
    pub offset: u32,
    /// Elements from one row to the next.
    pub row_stride: u32,
}

/// A rectangle to copy from one buffer to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StridedCopy {
    /// Rows of the rectangle.
    pub rows: u32,
    /// Columns of the rectangle.
    pub columns: u32,
    /// Size of an element.
    pub width: Width,
    /// Where it is read; rows may overlap.
    pub source: Place,
    /// Where it is written; rows may not overlap.
    pub target: Place,
}

impl StridedCopy {
    /// Checks the rectangle and makes a launch of it.
    ///
    /// # Errors
    /// [`ShapeError`] for an empty rectangle, an odd extent, offset or stride of 16-bit elements, rows
    /// of the target that overlap, and indices past 32 bits.
    pub fn launch(self) -> Result<Arc<dyn Launch>, ShapeError> {
        let Self {
            rows,
            columns,
            width,
            source,
            target,
        } = self;
        check_extents(NAME, &[("rows", rows.into()), ("columns", columns.into())])?;
        let per_word = width.per_word();
        for (name, value) in [
            ("columns", columns),
            ("source offset", source.offset),
            ("source row_stride", source.row_stride),
            ("target offset", target.offset),
            ("target row_stride", target.row_stride),
        ] {
            check_multiple(
                NAME,
                (name, value.into()),
                ("elements of a word,", per_word.into()),
            )?;
        }
        if rows > 1 && target.row_stride < columns {
            return Err(ShapeError::TooLarge {
                kernel: NAME,
                name: "columns",
                value: columns.into(),
                limit: target.row_stride.into(),
                reason: "the target's row_stride: its rows would overlap",
            });
        }
        let window = |place: Place| Window {
            offset: place.offset / per_word,
            row_stride: place.row_stride / per_word,
        };
        let launch = CopyLaunch {
            rows,
            columns: columns / per_word,
            source: window(source),
            target: window(target),
            width,
        };
        let elements = |window: Window| window.end(rows, launch.columns) * u64::from(per_word);
        check_index(
            NAME,
            "elements up to the source's end",
            elements(launch.source),
        )?;
        check_index(
            NAME,
            "elements up to the target's end",
            elements(launch.target),
        )?;
        Ok(Arc::new(launch))
    }
}

/// The launch, in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct CopyLaunch {
    rows: u32,
    columns: u32,
    source: Window,
    target: Window,
    width: Width,
}

impl CopyLaunch {
    /// Nothing before, between or behind the rows: no element keeps its value.
    fn covers_target(&self) -> bool {
        self.target.offset == 0 && (self.rows == 1 || self.target.row_stride == self.columns)
    }

    /// Rows can be moved in aligned runs of four words.
    fn aligned(&self) -> bool {
        let Self {
            columns,
            source,
            target,
            ..
        } = self;
        [
            *columns,
            source.offset,
            source.row_stride,
            target.offset,
            target.row_stride,
        ]
        .iter()
        .all(|words| words.is_multiple_of(4))
    }
}

impl Launch for CopyLaunch {
    fn kernel(&self) -> &'static str {
        NAME
    }

    fn describe(&self) -> String {
        let per_word = self.width.per_word();
        let place = |window: Window| {
            format!(
                "{}+{}r",
                u64::from(window.offset) * u64::from(per_word),
                u64::from(window.row_stride) * u64::from(per_word)
            )
        };
        format!(
            "rows={} columns={} bits={} from {} to {}",
            self.rows,
            u64::from(self.columns) * u64::from(per_word),
            self.width.bits(),
            place(self.source),
            place(self.target)
        )
    }

    fn slots(&self) -> Vec<Slot> {
        let bytes = |window: Window| 4 * window.end(self.rows, self.columns);
        let access = if self.covers_target() {
            Access::Write
        } else {
            Access::ReadWrite
        };
        vec![
            Slot {
                binding: SOURCE,
                name: "x",
                access: Access::Read,
                bytes: bytes(self.source),
            },
            Slot {
                binding: TARGET,
                name: "out",
                access,
                bytes: bytes(self.target),
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

    fn variants(&self, _: &Capabilities) -> Vec<Variant> {
        let variant = |unit, words| {
            let variant = Variant::new(NAME)
                .alias("Unit", unit)
                .number("UNIT_WORDS", words);
            variant.number("WORKGROUP_SIZE", 64)
        };
        let word = variant("u32", 1);
        if self.aligned() {
            vec![variant("vec4<u32>", 4), word]
        } else {
            vec![word]
        }
    }

    fn workgroups(&self, variant: &Variant) -> u64 {
        let units = u64::from(self.rows) * u64::from(self.columns / variant.get("UNIT_WORDS"));
        units.div_ceil(u64::from(variant.get("WORKGROUP_SIZE")))
    }

    fn iterations(&self, _variant: &Variant) -> Iterations {
        // No loop depends on the shape.
        Iterations::default()
    }

    fn reference(&self, operands: &HostOperands<'_>) -> Vec<Output> {
        let (source, columns) = (operands.words(SOURCE), self.columns as usize);
        let end = self.target.end(self.rows, self.columns) as usize;
        let mut target = operands
            .words(TARGET)
            .get(..end)
            .map_or_else(|| vec![0; end], <[u32]>::to_vec);
        for row in 0..self.rows as usize {
            let from = self.source.offset as usize + row * self.source.row_stride as usize;
            let to = self.target.offset as usize + row * self.target.row_stride as usize;
            target[to..to + columns].copy_from_slice(&source[from..from + columns]);
        }
        vec![Output::new(TARGET, Values::Words(target))]
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
        let (source_rows, source_columns) =
            self.source.fitting(self.columns, max_bytes, alignment)?;
        let (target_rows, target_columns) =
            self.target.fitting(self.columns, max_bytes, alignment)?;
        let mut parts = Vec::new();
        for rows in ranges(self.rows, source_rows.min(target_rows)) {
            for columns in ranges(self.columns, source_columns.min(target_columns)) {
                let (source, source_bytes) = self.source.part(&rows, &columns, alignment);
                let (target, target_bytes) = self.target.part(&rows, &columns, alignment);
                let (rows, columns) = (rows.end - rows.start, columns.end - columns.start);
                let ranges = BTreeMap::from([(SOURCE, source_bytes), (TARGET, target_bytes)]);
                parts.push(Part {
                    launch: Arc::new(Self {
                        rows,
                        columns,
                        source,
                        target,
                        ..*self
                    }),
                    ranges,
                });
            }
        }
        Some(parts)
    }
}

fn workload(asked: &mut Workload<'_>) -> Result<Arc<dyn Launch>, WorkloadError> {
    let [rows, columns] = asked.extents("ROWSxCOLUMNS")?;
    let width = asked.choose(&[("w32", Width::Bits32), ("w16", Width::Bits16)]);
    let place = Place {
        offset: 0,
        row_stride: columns,
    };
    let shape = StridedCopy {
        rows,
        columns,
        width: width.unwrap_or(Width::Bits32),
        source: place,
        target: place,
    };
    Ok(shape.launch()?)
}

/// Registry entry.
pub static KERNEL: Kernel = Kernel {
    name: NAME,
    summary: "a strided rectangle of 32-bit or 16-bit elements into another tensor",
    workload,
    cases: cases::cases,
    broken: cases::BROKEN,
    expected_failures: &[],
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::parts_test::check_parts;

    fn slice() -> StridedCopy {
        StridedCopy {
            rows: 3,
            columns: 4,
            width: Width::Bits16,
            source: Place {
                offset: 2,
                row_stride: 10,
            },
            target: Place {
                offset: 0,
                row_stride: 4,
            },
        }
    }

    #[test]
    fn rejects_odd_extents_of_16_bit_elements_by_name() {
        let odd = Place {
            offset: 1,
            row_stride: 10,
        };
        for (copy, expected) in [
            (
                StridedCopy {
                    columns: 3,
                    ..slice()
                },
                "columns = 3",
            ),
            (
                StridedCopy {
                    source: odd,
                    ..slice()
                },
                "source offset = 1",
            ),
            (
                StridedCopy {
                    target: odd,
                    ..slice()
                },
                "target offset = 1",
            ),
            (
                StridedCopy {
                    target: Place {
                        offset: 0,
                        row_stride: 5,
                    },
                    ..slice()
                },
                "target row_stride = 5",
            ),
        ] {
            let error = copy.launch().expect_err(expected);
            assert!(matches!(error, ShapeError::NotMultiple { multiple: 2, .. }));
            assert!(error.to_string().contains(expected), "{error}");
        }
        assert!(
            StridedCopy {
                columns: 3,
                width: Width::Bits32,
                ..slice()
            }
            .launch()
            .is_ok()
        );
    }

    #[test]
    fn rejects_target_rows_that_overlap() {
        let copy = StridedCopy {
            target: Place {
                offset: 0,
                row_stride: 2,
            },
            ..slice()
        };
        assert!(matches!(
            copy.launch(),
            Err(ShapeError::TooLarge {
                value: 4,
                limit: 2,
                ..
            })
        ));
        assert!(StridedCopy { rows: 1, ..copy }.launch().is_ok());
    }

    #[test]
    fn rejects_an_empty_rectangle_and_indices_past_32_bits() {
        assert!(matches!(
            StridedCopy { rows: 0, ..slice() }.launch(),
            Err(ShapeError::Zero { .. })
        ));
        let far = Place {
            offset: 0,
            row_stride: 1 << 31,
        };
        let copy = StridedCopy {
            source: far,
            ..slice()
        };
        assert!(matches!(
            copy.launch(),
            Err(ShapeError::TooLarge {
                limit: 0xffff_ffff,
                ..
            })
        ));
    }

    #[test]
    fn keeps_what_lies_outside_the_rectangle() {
        let copy = StridedCopy {
            target: Place {
                offset: 2,
                row_stride: 8,
            },
            ..slice()
        };
        let launch = copy.launch().expect("valid");
        assert_eq!(launch.slots()[1].access, Access::ReadWrite);
        let source: Vec<u32> = (0..13).collect();
        let target = vec![99; 11];
        let mut operands = HostOperands::default();
        operands.insert(SOURCE, &source);
        operands.insert(TARGET, &target);
        let outputs = launch.reference(&operands);
        let expected = vec![99, 1, 2, 99, 99, 6, 7, 99, 99, 11, 12];
        assert_eq!(outputs[0].values, Values::Words(expected));
    }

    #[test]
    fn parts_make_what_the_whole_makes() {
        let source: Vec<u32> = (0..40_000).collect();
        for (rows, columns) in [(30, 40), (3, 3000)] {
            let copy = StridedCopy {
                rows,
                columns,
                width: Width::Bits32,
                source: Place {
                    offset: 5,
                    row_stride: columns + 9,
                },
                target: Place {
                    offset: 11,
                    row_stride: columns + 3,
                },
            };
            let launch = copy.launch().expect("valid");
            assert!(check_parts(launch.as_ref(), &[(SOURCE, source.clone())], 2048, 256) > 3);
        }
    }
}
