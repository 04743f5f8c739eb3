//! One step of training in Lapidary and in burn, from the same first values on the same batches: upload
//! of the batch, forward pass, cross-entropy, backward pass, Adam.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ::burn::module::Param;
use ::burn::nn::Linear;
use ::burn::nn::loss::{CrossEntropyLoss, CrossEntropyLossConfig};
use ::burn::optim::{AdamConfig, GradientsParams, ModuleOptimizer};
use ::burn::tensor::activation::relu;
use ::burn::tensor::{Device, Int, Tensor, TensorData};
use lapidary::data::{Batch, Loader, LoaderOptions, fashion_mnist_subset};
use lapidary::engine::GpuEngine;
use lapidary::kernels::FloatType;
use lapidary::models::Mlp;
use lapidary::num::optim::{Convention, Optimizer};
use lapidary::ops::nn::Curve;
use lapidary::tensor::HostTensor;
use lapidary::train::{Start, TrainOptions, Trainer};

use crate::burn::{guarded, open};
use crate::measure::{Failure, Timing};
use crate::report::aligned;
use crate::transpose::transposed;

const N_INPUTS: usize = 784;
const N_HIDDEN: usize = 256;
const N_CLASSES: usize = 10;
const BATCH_SIZE: usize = 128;
const LEARNING_RATE: f64 = 1e-3;
/// PyTorch's for Adam, which is our default and not burn's.
const EPSILON: f32 = 1e-8;
/// Steps of a round; their mean is one sample.
const STEPS_OF_A_ROUND: usize = 16;

const COLUMNS: usize = 7;
const HEADER: [&str; COLUMNS] = [
    "library",
    "how",
    "median ms",
    "spread",
    "first step s",
    "loss at the end",
    "ours/burn",
];

/// One library's training.
trait Steps {
    /// A step on each batch, and a wait for the last; returns the last loss.
    fn run(&mut self, batches: &[Batch]) -> Result<f64, Failure>;
}

/// Times `rounds` rounds after one of warm-up and returns the table.
pub fn training(engine: &Arc<GpuEngine>, rounds: usize, markdown: bool) -> Result<String, Failure> {
    let data = fashion_mnist_subset()?.train;
    let network = Mlp::new(data.sample_shape(), &[N_HIDDEN], N_CLASSES, Curve::Relu)?;
    let batches: Vec<Batch> = Loader::new(data.into(), LoaderOptions::learning(BATCH_SIZE, 0))?
        .epoch(0)?
        .take(STEPS_OF_A_ROUND)
        .collect();
    let first_values = Trainer::new(
        engine.as_ref(),
        &network,
        options(FloatType::F32)?,
        Start::Seed,
    )?
    .parameters()?
    .into_iter()
    .map(|(_, value)| value)
    .collect::<Vec<_>>();
    let mut contenders: Vec<(&str, &str, Box<dyn Steps + '_>)> = Vec::new();
    for (how, precision) in [
        ("f32", FloatType::F32),
        ("f16, scaled loss", FloatType::F16),
        ("bf16", FloatType::Bf16),
    ] {
        let trainer = Trainer::new(engine.as_ref(), &network, options(precision)?, Start::Seed)?;
        contenders.push(("lapidary", how, Box::new(Ours(trainer))));
    }
    let device = open(engine.summary())?.autodiff();
    for (how, reads_every_loss) in [
        ("f32, every loss read", true),
        ("f32, the last loss of a round read", false),
    ] {
        let steps = guarded(|| BurnSteps::new(&device, &first_values, reads_every_loss))?;
        contenders.push(("burn", how, Box::new(steps)));
    }
    let (names, mut steps): (Vec<_>, Vec<_>) = contenders
        .into_iter()
        .map(|(library, how, steps)| ((library, how), steps))
        .unzip();
    let measured = in_turns(&mut steps, &batches, rounds)?;
    let best_peer = names
        .iter()
        .zip(&measured)
        .filter(|((library, _), _)| *library == "burn")
        .map(|(_, (timing, _))| timing.median())
        .min_by(f64::total_cmp);
    let rows = names
        .iter()
        .zip(&measured)
        .map(|((library, how), (timing, loss))| {
            let ratio = match best_peer {
                Some(best) if *library != "burn" => format!("{:.2}", best / timing.median()),
                _ => String::new(),
            };
            [
                (*library).to_owned(),
                (*how).to_owned(),
                format!("{:.2}", timing.median() * 1e3),
                format!("{:.0}%", timing.spread() * 1e2),
                format!("{:.2}", timing.first.as_secs_f64()),
                format!("{loss:.4}"),
                ratio,
            ]
        });
    let cells: Vec<[String; COLUMNS]> = std::iter::once(HEADER.map(str::to_owned))
        .chain(rows)
        .collect();
    let title = format!(
        "a training step: {N_INPUTS}-{N_HIDDEN}-{N_CLASSES}, batch {BATCH_SIZE}, Adam, on {}",
        engine.summary().line()
    );
    Ok(format!("{title}\n\n{}", aligned(&cells, 2, markdown)))
}

/// The first step of each alone, a round of warm-up, then rounds in which each has its turn.
fn in_turns(
    contenders: &mut [Box<dyn Steps + '_>],
    batches: &[Batch],
    rounds: usize,
) -> Result<Vec<(Timing, f64)>, Failure> {
    let mut measured = Vec::new();
    for contender in contenders.iter_mut() {
        let first = timed(contender.as_mut(), &batches[..1])?.0;
        contender.run(&batches[1..])?;
        let timing = Timing {
            first,
            seconds: Vec::new(),
            relative_error: 0.0,
        };
        measured.push((timing, f64::NAN));
    }
    for round in 0..rounds {
        eprintln!("[{}/{rounds}] training steps", round + 1);
        for (contender, (timing, last_loss)) in contenders.iter_mut().zip(&mut measured) {
            let (elapsed, loss) = timed(contender.as_mut(), batches)?;
            timing
                .seconds
                .push(elapsed.as_secs_f64() / batches.len() as f64);
            *last_loss = loss;
        }
    }
    for (timing, _) in &mut measured {
        timing.seconds.sort_by(f64::total_cmp);
    }
    Ok(measured)
}

fn timed(contender: &mut dyn Steps, batches: &[Batch]) -> Result<(Duration, f64), Failure> {
    let began = Instant::now();
    let loss = contender.run(batches)?;
    Ok((began.elapsed(), loss))
}

fn options(precision: FloatType) -> Result<TrainOptions, Failure> {
    Ok(TrainOptions {
        learning_rate: LEARNING_RATE,
        precision,
        batch_size: BATCH_SIZE,
        steps_per_epoch: STEPS_OF_A_ROUND as u64,
        ..TrainOptions::new(Optimizer::named("adam", Convention::PyTorch)?)
    })
}

/// Reads the loss of every step.
struct Ours<'a>(Trainer<'a>);

impl Steps for Ours<'_> {
    fn run(&mut self, batches: &[Batch]) -> Result<f64, Failure> {
        let mut loss = f64::NAN;
        for batch in batches {
            loss = self.0.step(batch)?;
        }
        Ok(loss)
    }
}

#[derive(::burn::module::Module, Debug)]
struct Network {
    hidden: Linear,
    output: Linear,
}

struct BurnSteps {
    device: Device,
    /// Given to the optimizer and back by each step.
    network: Option<Network>,
    optimizer: ModuleOptimizer,
    loss: CrossEntropyLoss,
    reads_every_loss: bool,
}

impl BurnSteps {
    /// From `[n, k]` weights and biases in the order of the layers; burn stores weights `[k, n]`.
    fn new(
        device: &Device,
        values: &[HostTensor],
        reads_every_loss: bool,
    ) -> Result<Self, Failure> {
        let [w1, b1, w2, b2] = values else {
            return Err(format!("{} tensors instead of 4", values.len()).into());
        };
        let layer = |weight: &HostTensor, bias: &HostTensor, n, k| -> Result<Linear, Failure> {
            let weight = TensorData::new(transposed(&weight.to_f32()?, n, k), [k, n]);
            let bias = TensorData::new(bias.to_f32()?, [n]);
            Ok(Linear {
                weight: Param::from_tensor(Tensor::from_data(weight, device)),
                bias: Some(Param::from_tensor(Tensor::from_data(bias, device))),
            })
        };
        let network = Network {
            hidden: layer(w1, b1, N_HIDDEN, N_INPUTS)?,
            output: layer(w2, b2, N_CLASSES, N_HIDDEN)?,
        };
        Ok(Self {
            device: device.clone(),
            network: Some(network),
            optimizer: AdamConfig::new().with_epsilon(EPSILON).init(),
            loss: CrossEntropyLossConfig::new().init(device),
            reads_every_loss,
        })
    }

    fn step(&mut self, batch: &Batch) -> Result<Tensor<1>, Failure> {
        let network = self.network.take().ok_or("an earlier step failed")?;
        let inputs = TensorData::new(batch.inputs.clone(), [BATCH_SIZE, N_INPUTS]);
        let labels: Vec<i32> = batch
            .labels
            .iter()
            .map(|label| label.cast_signed())
            .collect();
        let inputs = Tensor::<2>::from_data(inputs, &self.device);
        let labels =
            Tensor::<1, Int>::from_data(TensorData::new(labels, [BATCH_SIZE]), &self.device);
        let logits = network.output.forward(relu(network.hidden.forward(inputs)));
        let loss = self.loss.forward(logits, labels);
        let gradients = GradientsParams::from_grads(loss.backward(), &network);
        self.network = Some(self.optimizer.step(LEARNING_RATE, network, gradients));
        Ok(loss)
    }
}

impl Steps for BurnSteps {
    fn run(&mut self, batches: &[Batch]) -> Result<f64, Failure> {
        guarded(|| {
            let mut last = f64::NAN;
            for (index, batch) in batches.iter().enumerate() {
                let loss = self.step(batch)?;
                if self.reads_every_loss || index + 1 == batches.len() {
                    last = loss.into_scalar::<f32>().into();
                }
            }
            self.device.sync()?;
            Ok(last)
        })
    }
}
