//! The numbers of one step: computed in f64 from the step and the learning rate, stored in f32.
//!
//! A row is [`ROW`] numbers: what decoupled decay keeps, the L1 and the L2 factor, up to 12 of the
//! rule's own, and last the steps that are known to have been skipped. A table has a row for each
//! number of further skips: a device that skipped two steps which the host has not heard of uses row
//! 2, so bias corrections count the steps that were taken, as in PyTorch, with nothing read back.

use super::{Convention, Method, Optimizer};

/// f32 numbers of a row.
pub const ROW: usize = 16;

/// Where a row says how many skipped steps it counts on.
pub const SKIPPED: usize = 15;

/// What decoupled weight decay keeps of the parameter.
pub(super) const KEEP: usize = 0;
/// Factor of the parameter's sign in the gradient.
pub(super) const L1: usize = 1;
/// Factor of the parameter in the gradient.
pub(super) const L2: usize = 2;
/// First number of the rule.
pub(super) const RULE: usize = 3;

/// Once a product of momenta is below this, `1 - product` is 1 in f64.
const VANISHED: f64 = 1e-20;

/// Rows of f32, ready to upload as `[rows, ROW]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Coefficients {
    values: Vec<f32>,
}

impl Coefficients {
    /// The table of the `call`-th step (from 1, skipped ones included), of which `skipped` are known
    /// to have been skipped: row `r` holds for `r` more of them. `rows` is at least 1.
    pub fn table(
        optimizer: &Optimizer,
        learning_rate: f64,
        call: u64,
        skipped: u64,
        rows: usize,
    ) -> Self {
        let mut values = Vec::new();
        for row in 0..rows.max(1) as u64 {
            // The first step that is taken is step 1, however many were not.
            let step = call.saturating_sub(skipped + row).max(1);
            let of_step = optimizer.coefficients(step, learning_rate);
            values.extend(of_step.map(|value| value as f32));
            let last = values.len() - 1;
            values[last] = skipped as f32;
        }
        Self { values }
    }

    /// All rows, one after the other.
    pub fn values(&self) -> &[f32] {
        &self.values
    }
}

impl Optimizer {
    /// The numbers of step `step`, from 1, in f64.
    ///
    /// # Panics
    /// For step 0, which is a bug of the caller.
    pub fn coefficients(&self, step: u64, learning_rate: f64) -> [f64; ROW] {
        assert!(step > 0, "steps are counted from 1");
        let mut row = [0.0; ROW];
        row[KEEP] = 1.0 - learning_rate * self.penalty.decoupled;
        row[L1] = self.penalty.l1;
        row[L2] = self.penalty.l2;
        let own = self.of_rule(step, learning_rate);
        row[RULE..RULE + own.len()].copy_from_slice(&own);
        row
    }

    fn of_rule(&self, step: u64, lr: f64) -> Vec<f64> {
        let keras = self.convention == Convention::Keras;
        // An epsilon beside the root or under it.
        let place = |epsilon: f64| {
            if keras {
                [epsilon, 0.0]
            } else {
                [0.0, epsilon]
            }
        };
        match self.method {
            Method::Sgd => vec![lr],
            Method::Momentum {
                momentum,
                dampening,
                nesterov,
            } => {
                let fresh = if step == 1 { 1.0 } else { 1.0 - dampening };
                match (keras, nesterov) {
                    (false, false) => vec![momentum, fresh, lr, 0.0],
                    (false, true) => vec![momentum, fresh, lr * momentum, lr],
                    // Keras keeps the learning rate inside the momentum.
                    (true, false) => vec![momentum, -lr, -1.0, 0.0],
                    (true, true) => vec![momentum, -lr, -momentum, lr],
                }
            }
            Method::Adagrad {
                learning_rate_decay,
                epsilon,
                ..
            } => {
                let [inside, outside] = place(epsilon);
                let decayed = lr / (1.0 + (step - 1) as f64 * learning_rate_decay);
                vec![decayed, inside, outside]
            }
            Method::Adadelta { rho, epsilon } => vec![rho, 1.0 - rho, epsilon, lr],
            Method::Adam {
                betas,
                epsilon,
                amsgrad: _,
            } => {
                let [corrected1, corrected2] = corrections(betas, step);
                let mut row = means(betas);
                if keras {
                    row.extend([lr * corrected2.sqrt() / corrected1, 1.0, epsilon]);
                } else {
                    row.extend([lr / corrected1, 1.0 / corrected2.sqrt(), epsilon]);
                }
                row
            }
            Method::Rmsprop {
                rho,
                epsilon,
                momentum,
                ..
            } => {
                let [inside, outside] = place(epsilon);
                let rates = if keras { [lr, 1.0] } else { [1.0, lr] };
                let mut row = vec![rho, 1.0 - rho, inside, outside, momentum];
                row.extend(rates);
                row
            }
            Method::Nadam {
                betas,
                epsilon,
                momentum_decay,
            } => {
                let [_, corrected2] = corrections(betas, step);
                let mu = |step: u64| nadam_momentum(betas[0], momentum_decay, step);
                let product = nadam_product(betas[0], momentum_decay, step);
                let (now, next) = (mu(step), mu(step + 1));
                let mut row = means(betas);
                row.extend([
                    lr * (1.0 - now) / (1.0 - product),
                    lr * next / (1.0 - product * next),
                    1.0 / corrected2.sqrt(),
                    epsilon,
                ]);
                row
            }
            Method::Adamax { betas, epsilon } => {
                let [corrected1, _] = corrections(betas, step);
                let mut row = vec![betas[0], 1.0 - betas[0], betas[1]];
                // PyTorch adds epsilon to the gradient's magnitude, Keras to the largest one.
                row.extend(if keras {
                    [0.0, epsilon]
                } else {
                    [epsilon, 0.0]
                });
                row.push(lr / corrected1);
                row
            }
            Method::Radam { betas, epsilon } => {
                let [corrected1, corrected2] = corrections(betas, step);
                let mut row = means(betas);
                match rectification(betas[1], step) {
                    Some(rectified) => {
                        let rate = lr / corrected1 * rectified * corrected2.sqrt();
                        row.extend([rate, epsilon, 0.0]);
                    }
                    None => row.extend([0.0, epsilon, lr / corrected1]),
                }
                row
            }
        }
    }
}

fn means([beta1, beta2]: [f64; 2]) -> Vec<f64> {
    vec![beta1, 1.0 - beta1, beta2, 1.0 - beta2]
}

/// `1 - beta^step` of both.
fn corrections(betas: [f64; 2], step: u64) -> [f64; 2] {
    betas.map(|beta| 1.0 - beta.powf(step as f64))
}

/// `b1 (1 - 0.96^(step decay) / 2)`, Dozat 2016.
fn nadam_momentum(beta1: f64, decay: f64, step: u64) -> f64 {
    beta1 * (1.0 - 0.5 * 0.96_f64.powf(step as f64 * decay))
}

/// Product of the momenta of steps 1 to `step`.
fn nadam_product(beta1: f64, decay: f64, step: u64) -> f64 {
    let mut product = 1.0;
    for one in 1..=step {
        product *= nadam_momentum(beta1, decay, one);
        if product < VANISHED {
            return 0.0;
        }
    }
    product
}

/// The variance rectification of RAdam (Liu et al. 2020), `None` while the variance is not tractable.
fn rectification(beta2: f64, step: u64) -> Option<f64> {
    let longest = 2.0 / (1.0 - beta2) - 1.0;
    let power = beta2.powf(step as f64);
    let length = longest - 2.0 * step as f64 * power / (1.0 - power);
    let top = (length - 4.0) * (length - 2.0) * longest;
    let bottom = (longest - 4.0) * (longest - 2.0) * length;
    (length > 5.0).then(|| (top / bottom).sqrt())
}
