//! Scores of units: the sum of `scores [n, k]` over each unit of `unit_rows` by `unit_columns`, shorter
//! at the edges, as f32 `[ceil(n / unit_rows), ceil(k / unit_columns)]`.
//!
//! The order is part of the definition ([`unit_sums`]): from 0, row by row, in a row from left to right.
//! Subnormals count as +0 before and after each addition and every NaN is one NaN, so a result is equal
//! bit for bit wherever f32 additions round to nearest even.

mod cases;

use std::sync::Arc;

use crate::num::mask::{MAX_BLOCK, unit_sums};
use crate::record::{
    Access, Bound, Cost, HostOperands, Iterations, Launch, Output, Part, Slot, Values, params,
};
use crate::shader::{Capabilities, Variant};

use super::iterations::looped;
use super::mask_shape::{MaskShape, within};
use super::shape::ShapeError;
use super::split::{Streams, Tile, cut};
use super::{Kernel, Workload, WorkloadError};

const NAME: &str = "mask_scores";
const SCORES: u32 = 1;
const OUT: u32 = 8;

params! {
    struct Params {
        n: u32,
        k: u32,
        unit_rows: u32,
        unit_columns: u32,
        row_units: u32,
        units: u32,
    }
}

/// Sums over the units of a matrix of f32 scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaskScores(pub MaskShape);

impl MaskScores {
    /// Checks the shape and makes a launch of it.
    ///
    /// # Errors
    /// [`ShapeError`] for empty extents, units of more than 4096 elements, and more elements than 32 bits
    /// index.
    pub fn launch(self) -> Result<Arc<dyn Launch>, ShapeError> {
        self.0.check(NAME)?;
        let elements = u64::from(self.0.unit_rows) * u64::from(self.0.unit_columns);
        if elements > MAX_BLOCK as u64 {
            return Err(ShapeError::TooLarge {
                kernel: NAME,
                name: "unit_rows * unit_columns",
                value: elements,
                limit: MAX_BLOCK as u64,
                reason: "one invocation sums a unit; sum larger ones in strips",
            });
        }
        Ok(Arc::new(self))
    }
}

impl Launch for MaskScores {
    fn kernel(&self) -> &'static str {
        NAME
    }

    fn describe(&self) -> String {
        self.0.describe()
    }

    fn slots(&self) -> Vec<Slot> {
        vec![
            Slot {
                binding: SCORES,
                name: "scores",
                access: Access::Read,
                bytes: 4 * u64::from(self.0.n) * u64::from(self.0.k),
            },
            Slot {
                binding: OUT,
                name: "out",
                access: Access::Write,
                bytes: 4 * self.0.unit_count(),
            },
        ]
    }

    fn params(&self) -> Vec<u8> {
        let [_, row_units] = self.0.units();
        let params = Params {
            n: self.0.n,
            k: self.0.k,
            unit_rows: self.0.unit_rows,
            unit_columns: self.0.unit_columns,
            row_units,
            units: self.0.unit_count() as u32,
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
        self.0
            .unit_count()
            .div_ceil(variant.get("WORKGROUP_SIZE").into())
    }

    fn iterations(&self, _: &Variant) -> Iterations {
        let count = looped(
            self.0.unit_rows.into(),
            looped(self.0.unit_columns.into(), 0),
        );
        Iterations {
            unrolled: count,
            rolled: count,
        }
    }

    fn reference(&self, operands: &HostOperands<'_>) -> Vec<Output> {
        let (n, k) = (self.0.n as usize, self.0.k as usize);
        let sums = unit_sums(operands.f32(SCORES), n, k, self.0.as_units());
        let words = sums.into_iter().map(f32::to_bits).collect();
        vec![Output::new(OUT, Values::Words(words))]
    }

    fn bound(&self, _: &HostOperands<'_>) -> Vec<Bound> {
        vec![Bound::Exact]
    }

    fn cost(&self) -> Cost {
        Cost {
            operations: f64::from(self.0.n) * f64::from(self.0.k),
            bytes: self.slots().iter().map(|slot| slot.bytes as f64).sum(),
        }
    }

    fn split(&self, max_bytes: u64, alignment: u64) -> Option<Vec<Part>> {
        let [rows, columns] = self.0.units();
        let row_bytes = 4 * u64::from(self.0.k) * u64::from(self.0.unit_rows);
        let streams = Streams {
            by_row: vec![(SCORES, row_bytes), (OUT, 4 * u64::from(columns))],
            ..Streams::default()
        };
        let part = |mut tile: Tile| {
            let first = tile.rows.start * self.0.unit_rows;
            // The last row of units may have fewer rows.
            let n = (self.0.n - first)
                .min((tile.rows.end - tile.rows.start).saturating_mul(self.0.unit_rows));
            for slot in self.slots() {
                let range = within(&tile.ranges[&slot.binding], slot.bytes);
                tile.ranges.insert(slot.binding, range);
            }
            Part {
                launch: Arc::new(Self(MaskShape { n, ..self.0 })),
                ranges: tile.ranges,
            }
        };
        let tiles = cut(rows, 1, &streams, max_bytes, alignment)?;
        Some(tiles.into_iter().map(part).collect())
    }
}

fn workload(asked: &mut Workload<'_>) -> Result<Arc<dyn Launch>, WorkloadError> {
    let [n, k] = asked.extents("NxK")?;
    let unit = |word: &str| -> Option<[u32; 2]> {
        let (rows, columns) = word.strip_prefix('u')?.split_once('x')?;
        Some([rows.parse().ok()?, columns.parse().ok()?])
    };
    let [unit_rows, unit_columns] = asked
        .take("u8x1 and the like, rows and columns of a unit", unit)
        .unwrap_or([8, 1]);
    let shape = MaskShape {
        n,
        k,
        unit_rows,
        unit_columns,
    };
    Ok(MaskScores(shape).launch()?)
}

/// Registry entry.
pub static KERNEL: Kernel = Kernel {
    name: NAME,
    summary: "sums of scores [n, k] over vectors, blocks or strips, in one stated order",
    workload,
    cases: cases::cases,
    broken: cases::BROKEN,
    expected_failures: &[],
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::DataKind;
    use crate::kernels::mask_data::ScoreKind;
    use crate::kernels::parts_test::check_parts;

    const SHAPE: MaskShape = MaskShape {
        n: 101,
        k: 65,
        unit_rows: 8,
        unit_columns: 3,
    };

    #[test]
    fn rejects_units_too_large_for_one_invocation() {
        let launch = MaskScores(MaskShape {
            unit_columns: 513,
            ..SHAPE
        })
        .launch();
        assert!(matches!(
            launch,
            Err(ShapeError::TooLarge {
                value: 4104,
                limit: 4096,
                ..
            })
        ));
    }

    #[test]
    fn rejects_empty_extents() {
        for shape in [
            MaskShape { n: 0, ..SHAPE },
            MaskShape { k: 0, ..SHAPE },
            MaskShape {
                unit_rows: 0,
                ..SHAPE
            },
        ] {
            assert!(matches!(
                MaskScores(shape).launch(),
                Err(ShapeError::Zero { .. })
            ));
        }
    }

    #[test]
    fn parts_make_what_the_whole_makes() {
        // 64 bytes of result for a row of units, and a last one of 5 rows instead of 8.
        let shape = MaskShape {
            k: 64,
            unit_columns: 4,
            ..SHAPE
        };
        let launch = MaskScores(shape).launch().expect("valid");
        let scores = ScoreKind::Data(DataKind::Normal).words(1, 101 * 64);
        assert_eq!(
            check_parts(launch.as_ref(), &[(SCORES, scores)], 8192, 64),
            5
        );
    }
}
