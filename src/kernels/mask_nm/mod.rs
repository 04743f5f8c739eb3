//! N:M masks: of each `group` neighbours along k the `keep` with the largest scores, of equal ones those to
//! the left. Rows of a vector share one row of scores, f32 `[ceil(n / vector), k]`; the mask is
//! `[n, row_words]` words.
//!
//! An element is kept when fewer than `keep` of its group come before it in the order of `score_key` and
//! index, so that no sorting is needed.

mod cases;

use std::sync::Arc;

use crate::num::mask::{MAX_GROUP, keeps_of_group, score_key};
use crate::record::{
    Access, Bound, Cost, HostOperands, Iterations, Launch, Output, Part, Slot, Values, params,
};
use crate::shader::{Capabilities, Variant};

use super::iterations::looped;
use super::mask_shape::{MaskShape, RowPart};
use super::shape::{ShapeError, check_extents, check_multiple};
use super::{Kernel, Workload, WorkloadError};

const NAME: &str = "mask_nm";
const SCORES: u32 = 1;
const OUT: u32 = 8;

params! {
    struct Params {
        n: u32,
        k: u32,
        row_words: u32,
        unit_rows: u32,
        first_row: u32,
        keep: u32,
        group: u32,
    }
}

/// An N:M mask of a matrix `[n, k]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaskNm {
    /// Rows.
    pub n: u32,
    /// Columns.
    pub k: u32,
    /// Rows that share their scores.
    pub vector: u32,
    /// N: kept of a group.
    pub keep: u32,
    /// M: columns of a group, at most 256; divides k.
    pub group: u32,
}

#[derive(Debug, Clone, Copy)]
struct NmLaunch {
    shape: MaskShape,
    keep: u32,
    group: u32,
    /// First row of the whole matrix that this part makes, where vectors have several rows.
    first_row: u32,
    /// Rows of scores that are bound.
    score_rows: u32,
}

impl MaskNm {
    /// Checks the shape and makes a launch of it.
    ///
    /// # Errors
    /// [`ShapeError`] for empty extents, groups over 256 or that do not divide k, more kept than a group
    /// has, and more elements than 32 bits index.
    pub fn launch(self) -> Result<Arc<dyn Launch>, ShapeError> {
        let Self {
            n,
            k,
            vector,
            keep,
            group,
        } = self;
        let shape = MaskShape {
            n,
            k,
            unit_rows: vector,
            unit_columns: 1,
        };
        shape.check(NAME)?;
        check_extents(NAME, &[("group", group.into())])?;
        check_multiple(NAME, ("k", k.into()), ("group", group.into()))?;
        for (name, value, limit, reason) in [
            ("group", group, MAX_GROUP as u32, "compared with each other"),
            ("keep", keep, group, "columns of a group"),
        ] {
            if value > limit {
                return Err(ShapeError::TooLarge {
                    kernel: NAME,
                    name,
                    value: value.into(),
                    limit: limit.into(),
                    reason,
                });
            }
        }
        Ok(Arc::new(NmLaunch {
            shape,
            keep,
            group,
            first_row: 0,
            score_rows: n.div_ceil(vector),
        }))
    }
}

impl Launch for NmLaunch {
    fn kernel(&self) -> &'static str {
        NAME
    }

    fn describe(&self) -> String {
        let MaskShape {
            n, k, unit_rows, ..
        } = self.shape;
        format!(
            "n={n} k={k} keep={} of {} vector={unit_rows}",
            self.keep, self.group
        )
    }

    fn slots(&self) -> Vec<Slot> {
        vec![
            Slot {
                binding: SCORES,
                name: "scores",
                access: Access::Read,
                bytes: 4 * u64::from(self.score_rows) * u64::from(self.shape.k),
            },
            Slot {
                binding: OUT,
                name: "out",
                access: Access::Write,
                bytes: 4 * self.shape.word_count(),
            },
        ]
    }

    fn params(&self) -> Vec<u8> {
        bytemuck::bytes_of(&Params {
            n: self.shape.n,
            k: self.shape.k,
            row_words: self.shape.row_words(),
            unit_rows: self.shape.unit_rows,
            first_row: self.first_row,
            keep: self.keep,
            group: self.group,
        })
        .to_vec()
    }

    fn param_fields(&self) -> &'static [(&'static str, usize)] {
        Params::FIELDS
    }

    fn variants(&self, _: &Capabilities) -> Vec<Variant> {
        vec![Variant::new(NAME).number("WORKGROUP_SIZE", 64)]
    }

    fn workgroups(&self, variant: &Variant) -> u64 {
        self.shape
            .word_count()
            .div_ceil(variant.get("WORKGROUP_SIZE").into())
    }

    fn iterations(&self, _: &Variant) -> Iterations {
        let count = looped(32, looped(self.group.into(), 0));
        Iterations {
            unrolled: count,
            rolled: count,
        }
    }

    fn reference(&self, operands: &HostOperands<'_>) -> Vec<Output> {
        let k = self.shape.k as usize;
        let scores = &operands.words(SCORES)[..self.score_rows as usize * k];
        let keys: Vec<u32> = scores.iter().map(|&bits| score_key(bits)).collect();
        let kept: Vec<bool> = keys
            .chunks_exact(self.group as usize)
            .flat_map(|group| keeps_of_group(group, self.keep as usize))
            .collect();
        let words = self
            .shape
            .words(self.first_row, |row, column| kept[row * k + column]);
        vec![Output::new(OUT, Values::Words(words))]
    }

    fn bound(&self, _: &HostOperands<'_>) -> Vec<Bound> {
        vec![Bound::Exact]
    }

    fn cost(&self) -> Cost {
        Cost {
            operations: f64::from(self.shape.n) * f64::from(self.shape.k) * f64::from(self.group),
            bytes: self.slots().iter().map(|slot| slot.bytes as f64).sum(),
        }
    }

    fn split(&self, max_bytes: u64, alignment: u64) -> Option<Vec<Part>> {
        let by_row = vec![(OUT, 4 * u64::from(self.shape.row_words()))];
        let scores = [(SCORES, 4 * u64::from(self.shape.k))];
        let limits = (max_bytes, alignment);
        let parts = self.shape.cut_rows(by_row, &scores, Vec::new(), limits)?;
        let part = |RowPart {
                        shape,
                        start,
                        ranges,
                    }: RowPart| {
            let mut part = Self { shape, ..*self };
            if shape.unit_rows == 1 {
                part.score_rows = shape.n;
            } else {
                part.first_row += start;
            }
            Part {
                launch: Arc::new(part),
                ranges,
            }
        };
        Some(parts.into_iter().map(part).collect())
    }
}

fn workload(asked: &mut Workload<'_>) -> Result<Arc<dyn Launch>, WorkloadError> {
    let [n, k] = asked.extents("NxK")?;
    let pattern = |word: &str| -> Option<[u32; 2]> {
        let (keep, group) = word.split_once(':')?;
        Some([keep.parse().ok()?, group.parse().ok()?])
    };
    let [keep, group] = asked.take("2:4 and the like", pattern).unwrap_or([2, 4]);
    let vector = asked.take("v8 and the like", |word| {
        word.strip_prefix('v')?.parse().ok()
    });
    let shape = MaskNm {
        n,
        k,
        vector: vector.unwrap_or(1),
        keep,
        group,
    };
    Ok(shape.launch()?)
}

/// Registry entry.
pub static KERNEL: Kernel = Kernel {
    name: NAME,
    summary: "mask words [n, k / 32] of the N largest scores of each M, per row or vector of rows",
    workload,
    cases: cases::cases,
    broken: cases::BROKEN,
    expected_failures: &[],
};

#[cfg(test)]
mod tests {
    use super::cases::case;
    use super::*;
    use crate::kernels::mask_data::ScoreKind;
    use crate::kernels::parts_test::check_parts;

    const SHAPE: MaskNm = MaskNm {
        n: 130,
        k: 64,
        vector: 1,
        keep: 2,
        group: 4,
    };

    #[test]
    fn rejects_groups_that_do_not_fit_by_name() {
        let error = MaskNm { k: 66, ..SHAPE }.launch().err();
        assert!(matches!(
            error,
            Some(ShapeError::NotMultiple {
                name: "k",
                multiple: 4,
                ..
            })
        ));
        let error = MaskNm { keep: 5, ..SHAPE }.launch().err();
        assert!(matches!(
            error,
            Some(ShapeError::TooLarge {
                name: "keep",
                limit: 4,
                ..
            })
        ));
        let (k, group) = (1024, 512);
        let error = MaskNm { k, group, ..SHAPE }.launch().err();
        assert!(matches!(
            error,
            Some(ShapeError::TooLarge {
                name: "group",
                limit: 256,
                ..
            })
        ));
        assert!(MaskNm { group: 0, ..SHAPE }.launch().is_err());
    }

    #[test]
    fn parts_make_what_the_whole_makes() {
        let whole = case((500, 64, 1, 2, 4), ScoreKind::Tied).expect("valid");
        assert!(check_parts(whole.launch.as_ref(), &whole.operands, 4096, 64) > 2);
        // Vectors' scores are bound whole, and only the mask is cut.
        let shared = case((1000, 8, 32, 2, 4), ScoreKind::Tied).expect("valid");
        assert!(check_parts(shared.launch.as_ref(), &shared.operands, 1040, 64) > 2);
    }
}
