//! The gradient of x through pooling: each element's share of the gradients of the windows it lies in, summed
//! in the order of the windows. Of a maximum, the first of the largest elements gets all, as PyTorch does;
//! which that is, is found again from x. Of a mean, every element gets the same.

use std::sync::Arc;

use crate::record::{Bound, Cost, HostOperands, Iterations, Launch, Output, Part, Slot};
use crate::shader::{Capabilities, Edit, Variant};

use super::iterations::looped;
use super::pool_shape::{PoolShape, Pooling, pool_key};
use super::rows::{parts, read, slot_bytes, write};
use super::running::{Computed, Running, bounds, outputs};
use super::shape::ShapeError;
use super::{Case, DataKind, Effort, FloatType, Kernel, Workload, WorkloadError};

const NAME: &str = "pool2d_backward";
const X: u32 = 1;
const DY: u32 = 2;
const OUT: u32 = 8;

/// Shape and types. Operands by binding: x 1 (for a maximum), dy 2, dx 8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool2dBackward {
    /// Planes and windows.
    pub shape: PoolShape,
    /// Storage of x.
    pub x: FloatType,
    /// Storage of dy.
    pub dy: FloatType,
    /// Storage of dx.
    pub out: FloatType,
}

impl Pool2dBackward {
    /// Checks the shape and makes a launch of it.
    ///
    /// # Errors
    /// [`ShapeError`] as [`super::pool2d::Pool2d::launch`].
    pub fn launch(self) -> Result<Arc<dyn Launch>, ShapeError> {
        self.shape.check(NAME)?;
        Ok(Arc::new(self))
    }

    const fn is_max(&self) -> bool {
        matches!(self.shape.pooling, Pooling::Max(_))
    }

    /// Elements of x and of dy.
    fn elements(&self) -> [u64; 2] {
        let planes = u64::from(self.shape.planes);
        self.shape.positions().map(|positions| planes * positions)
    }

    fn computed(&self, operands: &HostOperands<'_>) -> Vec<Computed> {
        let shape = &self.shape;
        let [plane, results] = shape.positions().map(|one| one as usize);
        let [elements, gradients] = self.elements().map(|one| one as usize);
        let width = shape.input[1] as usize;
        let [out_height, out_width] = shape.output().map(|one| one as usize);
        let dy = self.dy.unpack(operands.words(DY), gradients);
        let x = if self.is_max() {
            self.x.unpack(operands.words(X), elements)
        } else {
            Vec::new()
        };
        // Shares of each element, in the order of windows.
        let mut shares: Vec<Vec<Running>> = vec![Vec::new(); elements];
        for index in 0..shape.planes as usize {
            for (y, column) in
                (0..out_height).flat_map(|y| (0..out_width).map(move |column| (y, column)))
            {
                let gradient = Running::loaded(dy[index * results + y * out_width + column]);
                let columns = shape.places(1, column);
                let places: Vec<usize> = shape
                    .places(0, y)
                    .flat_map(|row| columns.clone().map(move |column| row * width + column))
                    .map(|place| index * plane + place)
                    .collect();
                if self.is_max() {
                    // The first of equals: `max_by_key` would take the last.
                    let first = places.into_iter().rev().max_by_key(|&at| pool_key(x[at]));
                    shares[first.unwrap_or(0)].push(gradient);
                } else {
                    let share = gradient / Running::exact(shape.divisor(places.len()));
                    places.into_iter().for_each(|at| shares[at].push(share));
                }
            }
        }
        let sums = shares.into_iter().map(Running::sum).collect();
        vec![(OUT, self.out, sums)]
    }
}

impl Launch for Pool2dBackward {
    fn kernel(&self) -> &'static str {
        NAME
    }

    fn describe(&self) -> String {
        let Self { shape, x, dy, out } = self;
        let x = if self.is_max() {
            format!(" x-{x}")
        } else {
            String::new()
        };
        format!("{}{x} dy-{dy} out-{out}", shape.describe())
    }

    fn slots(&self) -> Vec<Slot> {
        let [elements, gradients] = self.elements();
        let mut slots = Vec::new();
        if self.is_max() {
            slots.push(read(X, "x", elements * self.x.bytes()));
        }
        slots.push(read(DY, "b_values", gradients * self.dy.bytes()));
        slots.push(write(OUT, "out", elements * self.out.bytes()));
        slots
    }

    fn params(&self) -> Vec<u8> {
        self.shape.params(self.elements()[0] as u32)
    }

    fn param_fields(&self) -> &'static [(&'static str, usize)] {
        PoolShape::param_fields()
    }

    fn variants(&self, _: &Capabilities) -> Vec<Variant> {
        let variant = Variant::new(NAME)
            .slot("share", self.shape.pooling.name())
            .slot("second", self.dy.name())
            .slot("pair", self.out.name())
            .number("WORKGROUP_SIZE", 64);
        let variant = if self.is_max() {
            variant.slot("element", self.x.name())
        } else {
            variant
        };
        vec![self.shape.choose(variant)]
    }

    fn workgroups(&self, variant: &Variant) -> u64 {
        self.elements()[0].div_ceil(2 * u64::from(variant.get("WORKGROUP_SIZE")))
    }

    fn iterations(&self, _: &Variant) -> Iterations {
        let ([rows, columns], [height, width]) = (self.shape.most_windows(), self.shape.longest());
        let share = if self.is_max() {
            looped(height, looped(width, 0))
        } else {
            0
        };
        let count = 2 * looped(rows, looped(columns, share));
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

fn workload(words: &mut Workload<'_>) -> Result<Arc<dyn Launch>, WorkloadError> {
    let shape = super::pool2d::asked(words)?;
    let x = words.float().unwrap_or(FloatType::F32);
    let dy = words.float().unwrap_or(x);
    let pool = Pool2dBackward {
        shape,
        x,
        dy,
        out: dy,
    };
    Ok(pool.launch()?)
}

/// Registry entry.
pub static KERNEL: Kernel = Kernel {
    name: NAME,
    summary: "gradients through maximum and mean of windows, the first of equal maxima taking all",
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
        let pool = Pool2dBackward {
            shape,
            x: FloatType::F32,
            dy: FloatType::F32,
            out: FloatType::F32,
        };
        for data in DataKind::ALL {
            cases.extend(case(pool, data));
        }
        let stored = Pool2dBackward {
            x: types[index % 3],
            dy: types[(index + 1) % 3],
            out: types[(index / 3 + 2) % 3],
            ..pool
        };
        cases.extend(case(stored, DataKind::Integers));
        cases.extend(case(stored, DataKind::Normal));
    }
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    cases.dedup_by(|a, b| a.name == b.name);
    cases
}

/// The case; `None` only when the shape itself is refused, which the shape tests cover.
fn case(pool: Pool2dBackward, data: DataKind) -> Option<Case> {
    let launch = pool.launch().ok()?;
    let [x, dy] = pool.elements().map(|one| one as usize);
    let mut operands = vec![(DY, pool.dy.pack(&data.values(dy as u64, dy)))];
    if pool.is_max() {
        operands.push((X, pool.x.pack(&data.values(x as u64 + 1, x))));
    }
    let case = Case::new(launch, operands, data);
    // Divisions round.
    Some(if pool.is_max() { case } else { case.bounded() })
}

const BROKEN: &[Edit] = &[
    Edit {
        name: "second_of_a_pair_is_the_first",
        module: NAME,
        find: "second = gathered(index + 1u)",
        replace: "second = gathered(index)",
    },
    Edit {
        name: "last_window_wins",
        module: NAME,
        find: "sum += share(",
        replace: "sum = share(",
    },
    Edit {
        name: "gradients_of_the_first_plane",
        module: NAME,
        find: "(plane * params.out_height + row)",
        replace: "row",
    },
    Edit {
        name: "all_of_equal_maxima",
        module: "share/max",
        find: "other < own, is_before",
        replace: "other <= own, is_before",
    },
    Edit {
        name: "last_of_equal_maxima",
        module: "share/max",
        find: "select(other <= own, other < own, is_before)",
        replace: "select(other < own || (row == place.y && column == place.x), other <= own, is_before)",
    },
    Edit {
        name: "first_window_of_a_place_missed",
        module: "window/moving",
        find: "(place - kernel) / stride + 1u",
        replace: "(place - kernel) / stride + 2u",
    },
    Edit {
        name: "shares_of_the_whole_kernel",
        module: "share/average",
        find: "window_area(window_rows(window.y), window_columns(window.x))",
        replace: "window_area(window_rows(0u), window_columns(0u))",
    },
    Edit {
        name: "last_adaptive_window_missed",
        module: "window/adaptive",
        find: "((index + 1u) * extent + count - 1u) / count",
        replace: "max((index + 1u) * extent / count, index * extent / count + 1u)",
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::parts_test::check_parts;
    use crate::kernels::pool_shape::PoolWindow;

    #[test]
    fn parts_make_what_the_whole_makes() {
        let window = PoolWindow {
            kernel: [3; 2],
            stride: [2; 2],
            padding: [1; 2],
        };
        let pool = Pool2dBackward {
            shape: PoolShape {
                planes: 50,
                input: [8, 16],
                pooling: Pooling::Max(window),
            },
            x: FloatType::F32,
            dy: FloatType::F32,
            out: FloatType::F16,
        };
        let x = FloatType::F32.pack(&DataKind::Normal.values(1, 50 * 128));
        let dy = FloatType::F32.pack(&DataKind::Normal.values(2, 50 * 32));
        let launch = pool.launch().expect("valid");
        assert!(check_parts(launch.as_ref(), &[(X, x), (DY, dy)], 4096, 256) > 2);
    }
}
