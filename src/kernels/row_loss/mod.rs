//! Losses of rows of `x [rows, columns]` and, in the same launch, the gradient of x times a factor.
//!
//! * Cross-entropy: `sum of q (log(sum of e^x) - x)`, where q is `1 - smoothing` on a label (or that times a
//!   given weight for each class) plus `smoothing / columns`; gradient `p (sum of q) - q` with `p =
//!   softmax(x)`. Label smoothing as Szegedy et al. 2016 and PyTorch.
//! * Distillation: `T^2 sum of t (log t - log p)` with both `p = softmax(x / T)` and `t = softmax(teacher /
//!   T)`; gradient `T (p - t)` (Hinton et al. 2015).
//! * Squares: `sum of (x - target)^2`.
//! * Binary cross-entropy of `logistic(x)`: `sum of max(x, 0) - x target + log(1 + e^-|x|)`.
//! * Cosine: half the squared distance of x and target, both brought to length 1, which is 1 less their cosine;
//!   gradient `(u - v - u sum of u (u - v)) / |x|` with the rows of length 1, u and v.
//!
//! The factor lies in a buffer, so that a plan replays with another loss scale; `1 / rows` of a mean belongs
//! into it. Losses are f32 and not scaled: their mean is one reduction away. A label that is no class is no
//! error here: it has no weight, and no memory is read for it.

mod cases;
mod fast;
mod loss;

use std::sync::Arc;

use crate::record::{
    Bound, Cost, HostOperands, HostResults, Iterations, Launch, Output, Part, Slot, params,
};
use crate::shader::{Capabilities, Variant};

use super::rows::{RowExtents, check_pairs, parts, read, slot_bytes, write};
use super::running::{Computed, Running, bounds, outputs};
use super::shape::ShapeError;
use super::{FloatType, Kernel, Workload, WorkloadError};

pub use loss::Loss;
use loss::RowLossTerms;

const NAME: &str = "row_loss";
const X: u32 = 1;
const TARGET: u32 = 2;
const FACTOR: u32 = 3;
const LOSSES: u32 = 7;
const OUT: u32 = 8;

params! {
    struct Params {
        rows: u32,
        columns: u32,
        setting: f32,
    }
}

/// Shape, loss and types. Operands by binding: x 1, labels or targets 2, factor f32 `[1]` 3, losses f32
/// `[rows]` 7, gradient 8.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RowLoss {
    /// Rows, each with a loss of its own.
    pub rows: u32,
    /// Classes, or elements of a row.
    pub columns: u32,
    /// What is computed.
    pub loss: Loss,
    /// Storage of x.
    pub x: FloatType,
    /// Storage of targets; labels are always u32.
    pub target: FloatType,
    /// Storage of the gradient.
    pub out: FloatType,
}

impl RowLoss {
    /// Checks the shape and makes a launch of it.
    ///
    /// # Errors
    /// [`ShapeError`] for empty extents, rows of more than 2^22 elements, more elements than 32 bits index,
    /// 16-bit gradients with an odd number of columns, smoothing outside [0, 1] and temperatures that are not
    /// positive.
    pub fn launch(self) -> Result<Arc<dyn Launch>, ShapeError> {
        self.extents().check(NAME)?;
        check_pairs(NAME, self.out, ("columns", self.columns))?;
        self.loss.check(NAME)?;
        Ok(Arc::new(self))
    }

    fn extents(&self) -> RowExtents {
        RowExtents {
            rows: self.rows.into(),
            columns: self.columns.into(),
        }
    }

    fn computed(&self, operands: &HostOperands<'_>) -> Vec<Computed> {
        let (rows, columns) = (self.rows as usize, self.columns as usize);
        let x = self.x.unpack(operands.words(X), rows * columns);
        let factor = Running::loaded(operands.f32(FACTOR)[0]);
        let targets = if self.loss.has_labels() {
            Vec::new()
        } else {
            self.target.unpack(operands.words(TARGET), rows * columns)
        };
        let (mut losses, mut gradients) = (Vec::new(), Vec::new());
        for (index, x) in x.chunks(columns).enumerate() {
            let x: Vec<Running> = x.iter().copied().map(Running::loaded).collect();
            let RowLossTerms { terms, slopes } = if self.loss.has_labels() {
                let label = operands.words(TARGET)[index] as usize;
                self.loss.of_label(&x, label)
            } else {
                let target = targets[index * columns..].iter().take(columns);
                let target: Vec<Running> = target.copied().map(Running::loaded).collect();
                self.loss.of_targets(&x, &target)
            };
            losses.push(Running::sum(terms));
            gradients.extend(slopes.into_iter().map(|slope| factor * slope));
        }
        vec![(LOSSES, FloatType::F32, losses), (OUT, self.out, gradients)]
    }
}

impl Launch for RowLoss {
    fn kernel(&self) -> &'static str {
        NAME
    }

    fn describe(&self) -> String {
        let Self {
            rows,
            columns,
            loss,
            x,
            target,
            out,
        } = self;
        let target = if loss.has_labels() {
            String::new()
        } else {
            format!(" target-{target}")
        };
        format!("{loss} rows={rows} columns={columns} x-{x}{target} out-{out}")
    }

    fn slots(&self) -> Vec<Slot> {
        let rows = u64::from(self.rows);
        let elements = rows * u64::from(self.columns);
        let target = if self.loss.has_labels() {
            read(TARGET, "labels", 4 * rows)
        } else {
            read(TARGET, "b_values", elements * self.target.bytes())
        };
        vec![
            read(X, "x", elements * self.x.bytes()),
            target,
            read(FACTOR, "factor", 4),
            write(LOSSES, "losses", 4 * rows),
            write(OUT, "out", elements * self.out.bytes()),
        ]
    }

    fn params(&self) -> Vec<u8> {
        bytemuck::bytes_of(&Params {
            rows: self.rows,
            columns: self.columns,
            setting: self.loss.setting(),
        })
        .to_vec()
    }

    fn param_fields(&self) -> &'static [(&'static str, usize)] {
        Params::FIELDS
    }

    fn variants(&self, capabilities: &Capabilities) -> Vec<Variant> {
        let variant = Variant::new(NAME)
            .slot("loss", self.loss.name())
            .slot("element", self.x.name())
            .slot("store", self.out.name());
        let variant = if self.loss.has_labels() {
            variant
        } else {
            variant.slot("second", self.target.name())
        };
        self.extents().variants(&variant, capabilities)
    }

    fn workgroups(&self, variant: &Variant) -> u64 {
        self.extents().workgroups(variant)
    }

    fn iterations(&self, variant: &Variant) -> Iterations {
        self.extents().iterations(variant, 5, 5)
    }

    fn reference(&self, operands: &HostOperands<'_>) -> Vec<Output> {
        outputs(self.computed(operands))
    }

    fn fast(&self, operands: &HostOperands<'_>, results: &mut HostResults<'_>) -> bool {
        if self.loss != (Loss::Labels { smoothing: 0.0 }) {
            return false;
        }
        self.compute_labels(operands, results);
        true
    }

    fn bound(&self, operands: &HostOperands<'_>) -> Vec<Bound> {
        bounds(self.computed(operands))
    }

    fn cost(&self) -> Cost {
        Cost {
            operations: 10.0 * f64::from(self.rows) * f64::from(self.columns),
            bytes: slot_bytes(&self.slots()),
        }
    }

    fn split(&self, max_bytes: u64, alignment: u64) -> Option<Vec<Part>> {
        let limits = (max_bytes, alignment);
        parts(self.rows, &self.slots(), &[FACTOR], limits, |run| {
            let rows = run.end - run.start;
            Arc::new(Self { rows, ..*self })
        })
    }
}

fn workload(asked: &mut Workload<'_>) -> Result<Arc<dyn Launch>, WorkloadError> {
    let [rows, columns] = asked.extents("ROWSxCOLUMNS")?;
    let loss = asked.choose(&Loss::ALL.map(|one| (one.name(), one)));
    let x = asked.float().unwrap_or(FloatType::F32);
    let shape = RowLoss {
        rows,
        columns,
        loss: loss.unwrap_or(Loss::Labels { smoothing: 0.0 }),
        x,
        target: x,
        out: x,
    };
    Ok(shape.launch()?)
}

/// Registry entry.
pub static KERNEL: Kernel = Kernel {
    name: NAME,
    summary: "losses of rows with gradients: cross-entropy, distillation, squares, binary cross-entropy, cosine",
    workload,
    cases: cases::cases,
    broken: cases::BROKEN,
    expected_failures: &[],
};

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: RowLoss = RowLoss {
        rows: 2,
        columns: 3,
        loss: Loss::Labels { smoothing: 0.1 },
        x: FloatType::F32,
        target: FloatType::F32,
        out: FloatType::F32,
    };

    #[test]
    fn rejects_settings_out_of_range() {
        for loss in [
            Loss::Labels { smoothing: -0.1 },
            Loss::SoftTargets { smoothing: 1.5 },
            Loss::Distillation { temperature: 0.0 },
            Loss::Distillation {
                temperature: f32::NAN,
            },
        ] {
            let launch = RowLoss { loss, ..SHAPE }.launch();
            assert!(
                matches!(launch, Err(ShapeError::Unsupported { .. })),
                "{loss}"
            );
        }
    }

    #[test]
    fn a_label_that_is_no_class_has_no_weight() {
        let words = |values: &[f32]| bytemuck::cast_slice(values).to_vec();
        let (x, factor): (Vec<u32>, Vec<u32>) = (words(&[0.0; 6]), words(&[1.0]));
        let labels = [1, 3];
        let mut operands = HostOperands::default();
        operands.insert(X, &x);
        operands.insert(TARGET, &labels);
        operands.insert(FACTOR, &factor);
        let loss = Loss::Labels { smoothing: 0.0 };
        let computed = RowLoss { loss, ..SHAPE }.computed(&operands);
        assert!((computed[0].2[0].value - 3f64.ln()).abs() < 1e-15);
        assert_eq!(computed[0].2[1].value, 0.0);
        assert!(computed[1].2[3..].iter().all(|one| one.value == 0.0));
    }
}
