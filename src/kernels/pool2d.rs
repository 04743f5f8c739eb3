//! Pooling of `x [planes, height, width]`: the largest element or the mean of each window.
//!
//! A maximum is found by integers in the order of the values, so that it is the same on every adapter; a mean
//! is one sum, row by row, and one division.

use std::sync::Arc;

use crate::record::{Bound, Cost, HostOperands, Iterations, Launch, Output, Part, Slot};
use crate::shader::{Capabilities, Edit, Variant};

use super::iterations::looped;
use super::pool_shape::{PoolShape, PoolWindow, Pooling, pool_key};
use super::rows::{parts, read, slot_bytes, write};
use super::running::{Computed, Running, bounds, outputs};
use super::shape::ShapeError;
use super::{Case, DataKind, Effort, FloatType, Kernel, Workload, WorkloadError};

const NAME: &str = "pool2d";
const X: u32 = 1;
const OUT: u32 = 8;

/// Shape and types. Operands by binding: x 1, result 8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool2d {
    /// Planes and windows.
    pub shape: PoolShape,
    /// Storage of x.
    pub x: FloatType,
    /// Storage of the result.
    pub out: FloatType,
}

impl Pool2d {
    /// Checks the shape and makes a launch of it.
    ///
    /// # Errors
    /// [`ShapeError`] for empty extents, windows larger than the padded plane, padding of more than half a
    /// window, and more elements than 32 bits index.
    pub fn launch(self) -> Result<Arc<dyn Launch>, ShapeError> {
        self.shape.check(NAME)?;
        Ok(Arc::new(self))
    }

    /// Results.
    fn count(&self) -> u64 {
        u64::from(self.shape.planes) * self.shape.positions()[1]
    }

    fn computed(&self, operands: &HostOperands<'_>) -> Vec<Computed> {
        let shape = &self.shape;
        let [plane, _] = shape.positions().map(|one| one as usize);
        let planes = shape.planes as usize;
        let width = shape.input[1] as usize;
        let [out_height, out_width] = shape.output().map(|one| one as usize);
        let x = self.x.unpack(operands.words(X), planes * plane);
        let mut results = Vec::new();
        for first in (0..planes).map(|index| index * plane) {
            for (y, column) in
                (0..out_height).flat_map(|y| (0..out_width).map(move |column| (y, column)))
            {
                let columns = shape.places(1, column);
                let places = shape
                    .places(0, y)
                    .flat_map(|row| columns.clone().map(move |column| row * width + column));
                let values: Vec<f32> = places.map(|place| x[first + place]).collect();
                results.push(match shape.pooling {
                    Pooling::Max(_) => {
                        let largest = values.into_iter().max_by_key(|&one| pool_key(one));
                        Running::loaded(largest.unwrap_or(f32::NEG_INFINITY))
                    }
                    Pooling::Average(_) | Pooling::AveragePadded(_) | Pooling::Adaptive(_) => {
                        let divisor = Running::exact(shape.divisor(values.len()));
                        Running::sum(values.into_iter().map(Running::loaded)) / divisor
                    }
                });
            }
        }
        vec![(OUT, self.out, results)]
    }
}

impl Launch for Pool2d {
    fn kernel(&self) -> &'static str {
        NAME
    }

    fn describe(&self) -> String {
        format!("{} x-{} out-{}", self.shape.describe(), self.x, self.out)
    }

    fn slots(&self) -> Vec<Slot> {
        let [plane, _] = self.shape.positions();
        let elements = u64::from(self.shape.planes) * plane;
        vec![
            read(X, "x", elements * self.x.bytes()),
            write(OUT, "out", self.count() * self.out.bytes()),
        ]
    }

    fn params(&self) -> Vec<u8> {
        self.shape.params(self.count() as u32)
    }

    fn param_fields(&self) -> &'static [(&'static str, usize)] {
        PoolShape::param_fields()
    }

    fn variants(&self, _: &Capabilities) -> Vec<Variant> {
        let variant = Variant::new(NAME)
            .slot("pooling", self.shape.pooling.name())
            .slot("element", self.x.name())
            .slot("pair", self.out.name())
            .number("WORKGROUP_SIZE", 64);
        vec![self.shape.choose(variant)]
    }

    fn workgroups(&self, variant: &Variant) -> u64 {
        self.count()
            .div_ceil(2 * u64::from(variant.get("WORKGROUP_SIZE")))
    }

    fn iterations(&self, _: &Variant) -> Iterations {
        let [rows, columns] = self.shape.longest();
        let count = 2 * looped(rows, looped(columns, 0));
        Iterations {
            unrolled: count,
            rolled: count,
        }
    }

    fn reference(&self, operands: &HostOperands<'_>) -> Vec<Output> {
        outputs(self.computed(operands))
    }

    fn bound(&self, operands: &HostOperands<'_>) -> Vec<Bound> {
        bounds(self.computed(operands))
    }

    fn cost(&self) -> Cost {
        Cost {
            operations: self.shape.operations(),
            bytes: slot_bytes(&self.slots()),
        }
    }

    fn split(&self, max_bytes: u64, alignment: u64) -> Option<Vec<Part>> {
        let limits = (max_bytes, alignment);
        parts(self.shape.planes, &self.slots(), &[], limits, |run| {
            let shape = self.shape.of(run.end - run.start);
            Arc::new(Self { shape, ..*self })
        })
    }
}

/// The pooling that a workload asks for: windows of 2 by 2 side by side by default.
pub(super) fn asked(asked: &mut Workload<'_>) -> Result<PoolShape, WorkloadError> {
    let [planes, height, width] = asked.extents("PLANESxHEIGHTxWIDTH")?;
    let side = asked.choose(&[("k2", 2), ("k3", 3)]).unwrap_or(2);
    let window = PoolWindow {
        kernel: [side; 2],
        stride: [2; 2],
        padding: [(side - 1) / 2; 2],
    };
    let pooling = asked.choose(&[
        ("max", Pooling::Max(window)),
        ("average", Pooling::Average(window)),
        ("global", Pooling::Adaptive([1; 2])),
    ]);
    Ok(PoolShape {
        planes,
        input: [height, width],
        pooling: pooling.unwrap_or(Pooling::Max(window)),
    })
}

fn workload(words: &mut Workload<'_>) -> Result<Arc<dyn Launch>, WorkloadError> {
    let shape = asked(words)?;
    let x = words.float().unwrap_or(FloatType::F32);
    let out = words.float().unwrap_or(x);
    Ok(Pool2d { shape, x, out }.launch()?)
}

/// Registry entry.
pub static KERNEL: Kernel = Kernel {
    name: NAME,
    summary: "maximum and mean of windows of planes, moving or adaptive",
    workload,
    cases,
    broken: BROKEN,
    expected_failures: &[],
};

fn cases(effort: Effort) -> Vec<Case> {
    let types = [FloatType::F32, FloatType::F16, FloatType::Bf16];
    let mut cases = Vec::new();
    for (index, shape) in PoolShape::cases(effort == Effort::Full)
        .into_iter()
        .enumerate()
    {
        let pool = Pool2d {
            shape,
            x: FloatType::F32,
            out: FloatType::F32,
        };
        for data in DataKind::ALL {
            cases.extend(case(pool, data));
        }
        let (x, out) = (types[index % 3], types[(index / 3 + 1) % 3]);
        let stored = Pool2d { x, out, ..pool };
        cases.extend(case(stored, DataKind::Integers));
        cases.extend(case(stored, DataKind::Normal));
    }
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    cases.dedup_by(|a, b| a.name == b.name);
    cases
}

/// The case; `None` only when the shape itself is refused, which the shape tests cover.
fn case(pool: Pool2d, data: DataKind) -> Option<Case> {
    let launch = pool.launch().ok()?;
    let len = pool.shape.planes as usize * pool.shape.positions()[0] as usize;
    let operands = vec![(X, pool.x.pack(&data.values(len as u64, len)))];
    let case = Case::new(launch, operands, data);
    Some(match pool.shape.pooling {
        Pooling::Max(_) => case,
        // Divisions round.
        Pooling::Average(_) | Pooling::AveragePadded(_) | Pooling::Adaptive(_) => case.bounded(),
    })
}

const BROKEN: &[Edit] = &[
    Edit {
        name: "second_of_a_pair_is_the_first",
        module: NAME,
        find: "second = result_bits(index + 1u)",
        replace: "second = result_bits(index)",
    },
    Edit {
        name: "last_column_of_a_window_dropped",
        module: NAME,
        find: "column < columns.y",
        replace: "column + 1u < columns.y",
    },
    Edit {
        name: "first_plane_only",
        module: NAME,
        find: "line / params.out_height * params.height",
        replace: "0u * params.height",
    },
    Edit {
        name: "smallest_for_largest",
        module: "pooling/max",
        find: "pool_key(bits) > pool_key(total)",
        replace: "pool_key(bits) < pool_key(total)",
    },
    Edit {
        name: "padding_counts",
        module: "pooling/average",
        find: "/ area",
        replace: "/ (area + 1.0)",
    },
    Edit {
        name: "padding_does_not_count",
        module: "pooling/average_padded",
        find: "f32(params.kernel_height * params.kernel_width)",
        replace: "area",
    },
    Edit {
        name: "windows_begin_in_the_padding",
        module: "window/moving",
        find: "max(first, padding)",
        replace: "first + padding",
    },
    Edit {
        name: "adaptive_windows_do_not_overlap",
        module: "window/adaptive",
        find: "((index + 1u) * extent + count - 1u) / count",
        replace: "max((index + 1u) * extent / count, index * extent / count + 1u)",
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::parts_test::check_parts;

    #[test]
    fn parts_make_what_the_whole_makes() {
        let shape = PoolShape {
            planes: 50,
            input: [9, 8],
            pooling: Pooling::Adaptive([3, 5]),
        };
        let pool = Pool2d {
            shape,
            x: FloatType::F32,
            out: FloatType::F16,
        };
        let x = FloatType::F32.pack(&DataKind::Normal.values(1, 50 * 72));
        let launch = pool.launch().expect("valid");
        // Results of 15 elements begin at whole words only every other plane, and aligned every 128th.
        assert!(launch.split(4096, 256).is_none());
        let even = Pool2d {
            shape: PoolShape {
                pooling: Pooling::Adaptive([4, 8]),
                ..shape
            },
            ..pool
        };
        let launch = even.launch().expect("valid");
        assert!(check_parts(launch.as_ref(), &[(X, x)], 4096, 256) > 2);
    }
}
