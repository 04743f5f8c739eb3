//! Contenders of one case, timed in turns: every round runs each of them once, so that whatever else
//! the machine does meanwhile falls on all alike.

use std::error::Error;
use std::time::Duration;

use crate::operands::{Operands, Shape};

/// Why a contender could not run.
pub type Failure = Box<dyn Error>;

/// Seconds a round of one contender should take; a longer product runs once a round.
const ROUND_SECONDS: f64 = 0.3;
const MAX_TIMES: f64 = 64.0;

/// One way of making one product.
pub trait Contender {
    /// Makes the product `times` times, waits for the last, and returns how long both took.
    fn run(&mut self, times: usize) -> Result<Duration, Failure>;

    /// The last row of the product, `[n]`.
    fn last_row(&mut self) -> Result<Vec<f32>, Failure>;
}

/// What was measured of one contender.
#[derive(Debug)]
pub struct Timing {
    /// One product with all that happens once: compiling, tuning.
    pub first: Duration,
    /// Seconds a product, sorted.
    pub seconds: Vec<f64>,
    /// Root mean square of the last row's error over that of the row.
    pub relative_error: f64,
}

impl Timing {
    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// (p90 - p10) / median.
    pub fn spread(&self) -> f64 {
        (self.quantile(0.9) - self.quantile(0.1)) / self.median()
    }

    /// Between the neighbours by linear interpolation.
    pub fn quantile(&self, q: f64) -> f64 {
        let position = q * (self.seconds.len() - 1) as f64;
        let (below, above) = (position.floor() as usize, position.ceil() as usize);
        let share = position - position.floor();
        self.seconds[below] * (1.0 - share) + self.seconds[above] * share
    }
}

struct Running {
    contender: Box<dyn Contender>,
    times: usize,
    timing: Timing,
}

/// Times the contenders of a case; a failure ends only the contender that it belongs to.
pub fn compare(
    contenders: Vec<Result<Box<dyn Contender>, Failure>>,
    operands: &Operands,
    rounds: usize,
) -> Vec<Result<Timing, String>> {
    let expected = last_row(operands);
    let mut running: Vec<Result<Running, Failure>> = contenders
        .into_iter()
        .map(|contender| start(contender?, &expected))
        .collect();
    // The first of these rounds is the warm-up.
    for round in 0..=rounds {
        for slot in &mut running {
            let Ok(one) = slot else { continue };
            match one.contender.run(one.times) {
                Ok(_) if round == 0 => {}
                Ok(elapsed) => {
                    let seconds = elapsed.as_secs_f64() / one.times as f64;
                    one.timing.seconds.push(seconds);
                }
                Err(failure) => *slot = Err(failure),
            }
        }
    }
    let finish = |one: Running| {
        let mut timing = one.timing;
        timing.seconds.sort_by(f64::total_cmp);
        timing
    };
    running
        .into_iter()
        .map(|slot| slot.map(finish).map_err(|failure| failure.to_string()))
        .collect()
}

/// The first call, a look at its result, and how often to repeat.
fn start(mut contender: Box<dyn Contender>, expected: &[f64]) -> Result<Running, Failure> {
    let first = contender.run(1)?;
    let relative_error = relative_error(&contender.last_row()?, expected)?;
    let seconds = contender.run(1)?.as_secs_f64();
    let times = (ROUND_SECONDS / seconds).round().clamp(1.0, MAX_TIMES) as usize;
    let timing = Timing {
        first,
        seconds: Vec::new(),
        relative_error,
    };
    Ok(Running {
        contender,
        times,
        timing,
    })
}

/// The last row of the product in f64.
fn last_row(operands: &Operands) -> Vec<f64> {
    let Shape { m, k, .. } = operands.shape;
    let x = &operands.x[(m - 1) * k..];
    let dot = |w: &[f32]| {
        x.iter()
            .zip(w)
            .map(|(x, w)| f64::from(*x) * f64::from(*w))
            .sum()
    };
    operands.w.chunks_exact(k).map(dot).collect()
}

fn relative_error(got: &[f32], expected: &[f64]) -> Result<f64, Failure> {
    if got.len() != expected.len() {
        return Err(format!("a row of {} elements, not {}", got.len(), expected.len()).into());
    }
    let pairs = || got.iter().zip(expected);
    let error: f64 = pairs()
        .map(|(got, exact)| (f64::from(*got) - exact).powi(2))
        .sum();
    let size: f64 = expected.iter().map(|exact| exact.powi(2)).sum();
    Ok((error / size).sqrt())
}
