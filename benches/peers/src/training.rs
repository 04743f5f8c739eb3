//! Steps of training in Lapidary and burn: a multilayer perceptron 784-256-10 with relu, batches of 128, Adam. A step
//! takes its batch from the host and gives its loss back to it. Each round runs every row some steps in turns.

use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lapidary::data::Batch;
use lapidary::engine::GpuEngine;
use lapidary::kernels::FloatType;
use lapidary::models::Mlp;
use lapidary::num::Philox;
use lapidary::num::optim::{Convention, Optimizer};
use lapidary::ops::nn::Curve;
use lapidary::train::{Start, TrainOptions, Trainer};
use serde::Serialize;

use crate::burn_training::BurnTraining;
use crate::measure::{Failure, Timing};
use crate::session::Session;

/// Extents of the perceptron.
pub const INPUTS: usize = 784;
pub const HIDDEN: usize = 256;
pub const CLASSES: usize = 10;
pub const BATCH: usize = 128;
pub const LEARNING_RATE: f64 = 1e-3;

/// Steps of one row in one round.
const STEPS: u32 = 16;

/// Normal inputs `[BATCH, INPUTS]` and labels `[BATCH]`.
pub struct Samples {
    pub inputs: Vec<f32>,
    pub labels: Vec<u32>,
}

/// What takes steps.
trait Learner {
    /// One step; returns its loss.
    fn step(&mut self, samples: &Samples) -> Result<f32, Failure>;
}

struct Ours<'a>(Trainer<'a>);

impl Learner for Ours<'_> {
    fn step(&mut self, samples: &Samples) -> Result<f32, Failure> {
        let batch = Batch {
            inputs: samples.inputs.clone(),
            labels: samples.labels.clone(),
            rows: (0..BATCH as u32).collect(),
            n_counted: BATCH,
        };
        Ok(self.0.step(&batch)? as f32)
    }
}

impl Learner for BurnTraining {
    fn step(&mut self, samples: &Samples) -> Result<f32, Failure> {
        Self::step(self, samples)
    }
}

/// One row of the table.
#[derive(Debug, Serialize)]
pub struct TrainingRow {
    pub package: &'static str,
    pub label: String,
    /// From nothing to the end of the first step, with all compiling and tuning.
    pub first_seconds: f64,
    pub median_seconds: f64,
    /// (p90 - p10) / median.
    pub spread: f64,
    /// The last loss: all rows see the same batch over and over, and must learn it.
    pub loss: f32,
}

/// Times all rows.
pub fn measure(session: &Session, rounds: usize) -> Vec<Result<TrainingRow, String>> {
    let mut stream = Philox::new(1).stream(0);
    let samples = Samples {
        inputs: (0..BATCH * INPUTS).map(|_| stream.normal()).collect(),
        labels: (0..BATCH as u32).map(|at| at % CLASSES as u32).collect(),
    };
    let network = Mlp::new(&[INPUTS], &[HIDDEN], CLASSES, Curve::Relu);
    let engine = session.engine();
    let mut running = Vec::new();
    for precision in [FloatType::F32, FloatType::F16, FloatType::Bf16] {
        let began = Instant::now();
        let made = match &network {
            Ok(network) => ours(&engine, network, precision),
            Err(error) => Err(error.to_string().into()),
        };
        running.push(start(
            "lapidary",
            precision.to_string(),
            made,
            (began, &samples),
        ));
    }
    let began = Instant::now();
    let made = session.burn().and_then(BurnTraining::new);
    let made = made.map(|one| Box::new(one) as Box<dyn Learner>);
    running.push(start("burn", "f32".to_owned(), made, (began, &samples)));

    // The first of these rounds is the warm-up.
    for round in 0..=rounds {
        for slot in &mut running {
            let Ok((learner, row, timing)) = slot else {
                continue;
            };
            let began = Instant::now();
            let mut failed = None;
            for _ in 0..STEPS {
                match learner.step(&samples) {
                    Ok(loss) => row.loss = loss,
                    Err(failure) => failed = Some(failure.to_string()),
                }
            }
            if round > 0 {
                timing
                    .seconds
                    .push(began.elapsed().as_secs_f64() / f64::from(STEPS));
            }
            if let Some(failure) = failed {
                *slot = Err(failure);
            }
        }
    }
    let finish = |(_, mut row, mut timing): (Box<dyn Learner + '_>, TrainingRow, Timing)| {
        timing.seconds.sort_by(f64::total_cmp);
        (row.median_seconds, row.spread) = (timing.median(), timing.spread());
        row
    };
    running.into_iter().map(|slot| slot.map(finish)).collect()
}

fn ours<'a>(
    engine: &'a Arc<GpuEngine>,
    network: &'a Mlp,
    precision: FloatType,
) -> Result<Box<dyn Learner + 'a>, Failure> {
    let options = TrainOptions {
        learning_rate: LEARNING_RATE,
        batch_size: BATCH,
        precision,
        ..TrainOptions::new(Optimizer::named("adam", Convention::PyTorch)?)
    };
    let trainer = Trainer::new(engine.as_ref(), network, options, Start::Seed)?;
    Ok(Box::new(Ours(trainer)))
}

type Started<'a> = (Box<dyn Learner + 'a>, TrainingRow, Timing);

fn start<'a>(
    package: &'static str,
    label: String,
    made: Result<Box<dyn Learner + 'a>, Failure>,
    (began, samples): (Instant, &Samples),
) -> Result<Started<'a>, String> {
    let failed = |failure: Failure| format!("{package} {label}: {failure}");
    let mut learner = made.map_err(failed)?;
    let loss = learner
        .step(samples)
        .map_err(|failure| format!("{package} {label}: {failure}"))?;
    let first: Duration = began.elapsed();
    let timing = Timing {
        first,
        seconds: Vec::new(),
        relative_error: 0.0,
    };
    let row = TrainingRow {
        package,
        label,
        first_seconds: first.as_secs_f64(),
        median_seconds: 0.0,
        spread: 0.0,
        loss,
    };
    Ok((learner, row, timing))
}

/// The rows as a Markdown table; failures are rows that say so.
pub fn table(rows: &[Result<TrainingRow, String>]) -> String {
    let burn = rows.iter().flatten().find(|row| row.package == "burn");
    let burn = burn.map(|row| row.median_seconds);
    let mut text = String::from(
        "| library | storage | ms a step | spread | first step, s | over burn | last loss |\n|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let written = match row {
            Ok(row) => writeln!(
                text,
                "| {} | {} | {:.2} | {:.0}% | {:.2} | {} | {:.4} |",
                row.package,
                row.label,
                1e3 * row.median_seconds,
                100.0 * row.spread,
                row.first_seconds,
                burn.map_or("".to_owned(), |burn| format!(
                    "{:.2}",
                    burn / row.median_seconds
                )),
                row.loss
            ),
            Err(failure) => writeln!(text, "| {failure} | | | | | | |"),
        };
        // Writing to a string does not fail.
        let _ = written;
    }
    text
}
