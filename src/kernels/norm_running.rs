//! Batch normalization of `x [items, channels, inner]` by running statistics, as a trained net applies it:
//! `y = (x - mean) / sqrt(variance + epsilon) gamma + beta` with the numbers of each channel; and the gradient
//! through it, `dx = dy / sqrt(variance + epsilon) gamma`, for layers whose statistics are frozen.

use std::sync::Arc;

use crate::record::{Bound, Cost, HostOperands, Iterations, Launch, Output, Part, Slot, params};
use crate::shader::{Capabilities, Edit, Variant};

use super::rows::{parts, read, slot_bytes, write};
use super::running::{Computed, Running, bounds, outputs};
use super::shape::{ShapeError, check_extents, check_index};
use super::{Case, DataKind, Effort, FloatType, Kernel, TINY, Workload, WorkloadError};

const NAME: &str = "norm_running";
const X: u32 = 1;
const GAMMA: u32 = 2;
const BETA: u32 = 3;
const RUNNING: u32 = 6;
const OUT: u32 = 8;

params! {
    struct Params {
        count: u32,
        first: u32,
        channels: u32,
        inner: u32,
        epsilon: f32,
    }
}

/// Which way a tensor passes the layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Elements are normalized.
    Forward,
    /// Gradients of the result become gradients of x.
    Backward,
}

impl Direction {
    /// Name in slots and printed shapes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Backward => "backward",
        }
    }
}

/// Shape, direction and types. Operands by binding: x or dy 1, gamma f32 `[channels]` 2, beta 3 (forward),
/// running statistics f32 `[channels, 2]` (mean, variance) 6, result 8.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NormRunning {
    /// Outermost extent: images of a batch.
    pub items: u32,
    /// Channels.
    pub channels: u32,
    /// Elements of one channel of one item: 1 for a matrix.
    pub inner: u32,
    /// Which way x passes.
    pub direction: Direction,
    /// Added to the variance; PyTorch's is 1e-5.
    pub epsilon: f32,
    /// Storage of x or dy.
    pub x: FloatType,
    /// Storage of the result.
    pub out: FloatType,
}

/// The launch: all elements, or the run of them that fits a binding limit.
#[derive(Debug, Clone, Copy, PartialEq)]
struct NormRunningLaunch {
    whole: NormRunning,
    count: u32,
    first: u32,
}

impl NormRunning {
    /// Checks the shape and makes a launch of it.
    ///
    /// # Errors
    /// [`ShapeError`] for empty extents, more elements than 32 bits index, and an epsilon that is no normal
    /// positive number.
    pub fn launch(self) -> Result<Arc<dyn Launch>, ShapeError> {
        let [items, channels, inner] = [self.items, self.channels, self.inner].map(u64::from);
        let extents = [("items", items), ("channels", channels), ("inner", inner)];
        check_extents(NAME, &extents)?;
        check_index(NAME, "items * channels", items * channels)?;
        check_index(NAME, "items * channels * inner", items * channels * inner)?;
        if !(self.epsilon.is_finite() && f64::from(self.epsilon) >= TINY) {
            return Err(ShapeError::Unsupported {
                kernel: NAME,
                name: "epsilon",
                value: self.epsilon.to_string(),
                allowed: "normal positive numbers",
            });
        }
        Ok(Arc::new(NormRunningLaunch {
            whole: self,
            count: self.items * self.channels * self.inner,
            first: 0,
        }))
    }
}

impl NormRunningLaunch {
    fn computed(&self, operands: &HostOperands<'_>) -> Vec<Computed> {
        let whole = self.whole;
        let x = whole.x.unpack(operands.words(X), self.count as usize);
        let result = |(index, &x): (usize, &f32)| {
            let element = self.first as usize + index;
            let channel = element / whole.inner as usize % whole.channels as usize;
            let running = &operands.f32(RUNNING)[2 * channel..2 * channel + 2];
            let [mean, variance] = [running[0], running[1]].map(Running::loaded);
            let deviation = variance + Running::loaded(whole.epsilon);
            let gamma = Running::loaded(operands.f32(GAMMA)[channel]);
            let scale = deviation.inverse_sqrt() * gamma;
            match whole.direction {
                Direction::Forward => {
                    let beta = Running::loaded(operands.f32(BETA)[channel]);
                    (Running::loaded(x) - mean) * scale + beta
                }
                Direction::Backward => Running::loaded(x) * scale,
            }
        };
        let results = x.iter().enumerate().map(result).collect();
        vec![(OUT, whole.out, results)]
    }
}

impl Launch for NormRunningLaunch {
    fn kernel(&self) -> &'static str {
        NAME
    }

    fn describe(&self) -> String {
        let NormRunning {
            items,
            channels,
            inner,
            direction,
            epsilon,
            x,
            out,
        } = self.whole;
        let direction = direction.name();
        let mut text = format!(
            "{direction} items={items} channels={channels} inner={inner} epsilon={epsilon} x-{x} out-{out}"
        );
        if self.count != items * channels * inner {
            text.push_str(&format!(" from {} count={}", self.first, self.count));
        }
        text
    }

    fn slots(&self) -> Vec<Slot> {
        let (count, channels) = (u64::from(self.count), u64::from(self.whole.channels));
        let mut slots = vec![
            read(X, "x", count * self.whole.x.bytes()),
            read(GAMMA, "gamma", 4 * channels),
        ];
        if self.whole.direction == Direction::Forward {
            slots.push(read(BETA, "beta", 4 * channels));
        }
        slots.push(read(RUNNING, "running", 8 * channels));
        slots.push(write(OUT, "out", count * self.whole.out.bytes()));
        slots
    }

    fn params(&self) -> Vec<u8> {
        bytemuck::bytes_of(&Params {
            count: self.count,
            first: self.first,
            channels: self.whole.channels,
            inner: self.whole.inner,
            epsilon: self.whole.epsilon,
        })
        .to_vec()
    }

    fn param_fields(&self) -> &'static [(&'static str, usize)] {
        Params::FIELDS
    }

    fn variants(&self, _: &Capabilities) -> Vec<Variant> {
        let variant = Variant::new(NAME)
            .slot("direction", self.whole.direction.name())
            .slot("element", self.whole.x.name());
        vec![
            variant
                .slot("pair", self.whole.out.name())
                .number("WORKGROUP_SIZE", 64),
        ]
    }

    fn workgroups(&self, variant: &Variant) -> u64 {
        u64::from(self.count).div_ceil(2 * u64::from(variant.get("WORKGROUP_SIZE")))
    }

    fn iterations(&self, _: &Variant) -> Iterations {
        // No loop depends on the shape.
        Iterations::default()
    }

    fn reference(&self, operands: &HostOperands<'_>) -> Vec<Output> {
        outputs(self.computed(operands))
    }

    fn bound(&self, operands: &HostOperands<'_>) -> Vec<Bound> {
        bounds(self.computed(operands))
    }

    fn cost(&self) -> Cost {
        Cost {
            operations: 4.0 * f64::from(self.count),
            bytes: slot_bytes(&self.slots()),
        }
    }

    fn split(&self, max_bytes: u64, alignment: u64) -> Option<Vec<Part>> {
        let (limits, whole) = ((max_bytes, alignment), [GAMMA, BETA, RUNNING]);
        parts(self.count, &self.slots(), &whole, limits, |run| {
            Arc::new(Self {
                count: run.end - run.start,
                first: self.first + run.start,
                ..*self
            })
        })
    }
}

fn workload(asked: &mut Workload<'_>) -> Result<Arc<dyn Launch>, WorkloadError> {
    let [items, channels, inner] = asked.extents("ITEMSxCHANNELSxINNER")?;
    let directions = [Direction::Forward, Direction::Backward].map(|one| (one.name(), one));
    let direction = asked.choose(&directions).unwrap_or(Direction::Forward);
    let x = asked.float().unwrap_or(FloatType::F32);
    let shape = NormRunning {
        items,
        channels,
        inner,
        direction,
        epsilon: 1e-5,
        x,
        out: x,
    };
    Ok(shape.launch()?)
}

/// Registry entry.
pub static KERNEL: Kernel = Kernel {
    name: NAME,
    summary: "batch normalization by running statistics, and the gradient through it",
    workload,
    cases,
    broken: BROKEN,
    expected_failures: &[],
};

fn cases(effort: Effort) -> Vec<Case> {
    let mut shapes = vec![(1, 1, 1), (5, 7, 1), (3, 6, 5), (2, 70, 3), (9, 3, 64)];
    if effort == Effort::Full {
        shapes.push((16, 32, 256));
    }
    let types = [FloatType::F32, FloatType::F16, FloatType::Bf16];
    let mut cases = Vec::new();
    for direction in [Direction::Forward, Direction::Backward] {
        for (index, &(items, channels, inner)) in shapes.iter().enumerate() {
            let shape = NormRunning {
                items,
                channels,
                inner,
                direction,
                epsilon: 1e-5,
                x: FloatType::F32,
                out: FloatType::F32,
            };
            cases.extend(case(shape, DataKind::Normal));
            cases.extend(case(shape, DataKind::ALL[index % 7]));
            let (x, out) = (types[index % 3], types[(index + 1) % 3]);
            cases.extend(case(NormRunning { x, out, ..shape }, DataKind::Normal));
        }
        let shape = NormRunning {
            items: 4,
            channels: 5,
            inner: 77,
            direction,
            epsilon: 1e-2,
            x: FloatType::F32,
            out: FloatType::F32,
        };
        for data in DataKind::ALL {
            cases.extend(case(shape, data));
        }
    }
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    cases.dedup_by(|a, b| a.name == b.name);
    cases
}

/// The case; `None` only when the shape itself is refused, which the shape tests cover.
fn case(shape: NormRunning, data: DataKind) -> Option<Case> {
    let (channels, launch) = (shape.channels as usize, shape.launch().ok()?);
    let len = shape.items as usize * channels * shape.inner as usize;
    let normal = |seed, len| DataKind::Normal.values(seed, len);
    let mut running = normal(3, 2 * channels);
    for variance in running.iter_mut().skip(1).step_by(2) {
        *variance = variance.abs();
    }
    let mut operands = vec![
        (X, shape.x.pack(&data.values(len as u64, len))),
        (GAMMA, FloatType::F32.pack(&normal(1, channels))),
        (RUNNING, FloatType::F32.pack(&running)),
    ];
    if shape.direction == Direction::Forward {
        operands.push((BETA, FloatType::F32.pack(&normal(2, channels))));
    }
    Some(Case::new(launch, operands, data).bounded())
}

const BROKEN: &[Edit] = &[
    Edit {
        name: "channels_next_to_each_other",
        module: NAME,
        find: "(params.first + index) / params.inner % params.channels",
        replace: "(params.first + index) % params.channels",
    },
    Edit {
        name: "second_of_a_pair_is_the_first",
        module: NAME,
        find: "second = result_bits(index + 1u)",
        replace: "second = result_bits(index)",
    },
    Edit {
        name: "mean_for_variance",
        module: "norm_running/params",
        find: "running[2u * channel + 1u]",
        replace: "abs(running[2u * channel])",
    },
    Edit {
        name: "epsilon_lost",
        module: "norm_running/params",
        find: " + params.epsilon",
        replace: " + 0.5 * params.epsilon",
    },
    Edit {
        name: "mean_not_subtracted",
        module: "direction/forward",
        find: "(value - running[2u * channel])",
        replace: "value * select(1.0, 2.0, running[0] > 1e30)",
    },
    Edit {
        name: "gradient_not_scaled",
        module: "direction/backward",
        find: "value * channel_scale(channel)",
        replace: "value * sign(channel_scale(channel))",
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::parts_test::check_parts;

    const SHAPE: NormRunning = NormRunning {
        items: 6,
        channels: 5,
        inner: 97,
        direction: Direction::Backward,
        epsilon: 1e-5,
        x: FloatType::F32,
        out: FloatType::F16,
    };

    #[test]
    fn rejects_empty_extents_and_an_epsilon_that_is_not_positive() {
        let empty = NormRunning { inner: 0, ..SHAPE }.launch();
        assert!(matches!(empty, Err(ShapeError::Zero { name: "inner", .. })));
        let epsilon = 0.0;
        let launch = NormRunning { epsilon, ..SHAPE }.launch();
        assert!(matches!(
            launch,
            Err(ShapeError::Unsupported {
                name: "epsilon",
                ..
            })
        ));
    }

    #[test]
    fn parts_make_what_the_whole_makes() {
        let launch = SHAPE.launch().expect("valid");
        let pack = |seed, len| FloatType::F32.pack(&DataKind::Normal.values(seed, len));
        let running = FloatType::F32.pack(&[1.0; 10]);
        let operands = [(X, pack(1, 2910)), (GAMMA, pack(2, 5)), (RUNNING, running)];
        assert!(check_parts(launch.as_ref(), &operands, 4096, 256) > 2);
    }
}
