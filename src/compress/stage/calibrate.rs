//! What every weight is given, over samples of the training set: ranges, sums, and Hessians.
//!
//! The network runs as it is, in f32, on the engine. Inputs of linear layers are the rows that meet the weight,
//! those of convolutions the windows, each as one row in the order of a filter's elements. `sum x x^T` of a batch
//! is a product on the engine, so with f32 sums over the rows of a batch: with `m` rows of one batch an entry is
//! off by at most `gamma(m) sum |x_i x_j|`. Batches are added in f64.

use std::collections::BTreeMap;

use super::few::Halves;
use super::{Context, StageError};
use crate::autograd::Tape;
use crate::compress::model::Model;
use crate::compress::{Calibration, Hessian};
use crate::data::permutation;
use crate::engine::Plan;
use crate::kernels::matmul_dense::Layout;
use crate::models::{Mode, Network, Pass, PassTensor, Role};
use crate::ops::nn::unfold;
use crate::ops::{MatmulOptions, matmul, transpose};
use crate::record::{Recording, Tensor};
use crate::tensor::DType;

/// Samples of a pass, of which there are two at the least: few, because windows of a convolution are many rows.
const BATCH: usize = 32;

/// What a weight's inputs look like.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerInputs {
    /// Ranges, a histogram and sums of each feature.
    pub calibration: Calibration,
    /// `2/n sum x x^T`.
    pub hessian: Hessian,
    /// The same in two parts, every other batch in each; `None` for samples of one batch.
    pub halves: Option<Halves>,
}

/// Runs `n_samples` of the training set, drawn by the context's seed without repetition, or all there are when
/// they are fewer, through a model, and returns what its weights are given by their names. Convolutions of several
/// groups, whose weights stay f32, are left out.
///
/// # Errors
/// [`StageError::Setting`] for no samples, missing or infinite values, what the engine says, and
/// [`StageError::Stopped`].
pub fn calibrate(
    context: &Context<'_>,
    model: &Model,
    n_samples: usize,
) -> Result<BTreeMap<String, LayerInputs>, StageError> {
    if n_samples == 0 {
        return Err(StageError::Setting {
            what: "calibration samples".to_owned(),
            given: "0".to_owned(),
            allowed: "1 or more".to_owned(),
        });
    }
    let order = permutation(context.train.n_samples(), context.seed, 0);
    let rows: Vec<usize> = order
        .iter()
        .take(n_samples)
        .map(|&row| row as usize)
        .collect();
    let samples = model.prepare(&context.train.select_rows(&rows)?)?;
    samples.require_complete()?;

    let mut uploads = Recording::new();
    let tensors: Vec<Tensor> = model
        .values()
        .iter()
        .map(|(_, value)| uploads.upload(value))
        .collect();
    context.engine.run(&uploads)?;

    let features = samples.n_features();
    let batch = BATCH.min(samples.n_samples().div_ceil(2)).max(1);
    let n_batches = samples.n_samples().div_ceil(batch);
    let mut pass: Option<(usize, WatchedPass)> = None;
    let mut sums: Vec<Sums> = Vec::new();
    for (index, batch) in samples.inputs().chunks(batch * features).enumerate() {
        context.tell("calibrate", format!("batch {index}"), [index, n_batches])?;
        let size = batch.len() / features;
        let watched = match pass.take() {
            Some((of, watched)) if of == size => watched,
            _ => WatchedPass::prepare(context, model, &tensors, size)?,
        };
        let shape = [&[size], model.network().sample_shape()].concat();
        let x = model.network().samples().host(DType::F32, shape, batch)?;
        let made = watched.plan.run(&[x])?;
        if sums.is_empty() {
            sums = watched.layers.iter().map(Sums::new).collect();
        }
        for (sums, made) in sums.iter_mut().zip(made.chunks_exact(2)) {
            let is_seen = index.is_multiple_of(2);
            sums.add((&made[0].to_f32()?, &made[1].to_f32()?), is_seen)?;
        }
        pass = Some((size, watched));
    }
    let finish = |one: Sums| -> Result<(String, LayerInputs), StageError> {
        let k = one.calibration.k();
        let n = one.calibration.n_samples();
        let hessian = Hessian::from_sums(&one.name, k, n, one.products.clone())?;
        let halves = Halves::of(&one.name, &hessian, one.seen, &one.products)?;
        let calibration = one.calibration;
        Ok((
            one.name,
            LayerInputs {
                calibration,
                hessian,
                halves,
            },
        ))
    };
    sums.into_iter().map(finish).collect()
}

/// A forward pass whose results are rows and products of each weight's inputs.
struct WatchedPass {
    plan: Box<dyn Plan>,
    /// Name and input features of each weight.
    layers: Vec<(String, usize)>,
}

impl WatchedPass {
    fn prepare(
        context: &Context<'_>,
        model: &Model,
        tensors: &[Tensor],
        batch: usize,
    ) -> Result<Self, StageError> {
        let network = model.network();
        let specs = network.tensors();
        let mut tape = Tape::over(Recording::new());
        let shape = [&[batch], network.sample_shape()].concat();
        let x = network
            .samples()
            .input(tape.recording(), DType::F32, &shape);
        let placed: Vec<PassTensor> = tensors
            .iter()
            .zip(&specs)
            .map(|(tensor, spec)| match spec.role {
                Role::Parameter => PassTensor::Parameter(tape.constant(tensor)),
                Role::Statistics => PassTensor::Statistics {
                    tensor: tensor.clone(),
                    is_frozen: true,
                },
            })
            .collect();
        let x = tape.constant(&x);
        let mut pass = Pass::new(&mut tape, &placed, Mode::Evaluation).watching();
        network.record(&mut pass, x)?;
        let seen = pass.seen().to_vec();
        let mut layers = Vec::new();
        for one in seen {
            let input = tape.value(one.input).clone();
            let recording = tape.recording();
            let rows = match one.windows {
                None => input,
                Some(windows) if windows.options.groups == 1 => {
                    unfold(recording, &input, windows.kernel, &windows.options)?
                }
                Some(_) => continue,
            };
            // x^T x: rows are added up.
            let turned = transpose(recording, &rows)?;
            let options = MatmulOptions {
                b_layout: Layout::KFirst,
                ..MatmulOptions::default()
            };
            let products = matmul(recording, &turned, &rows, &options)?;
            recording.download(&rows);
            recording.download(&products);
            layers.push((specs[one.tensor].name.clone(), rows.shape()[1]));
        }
        let plan = context.engine.prepare(&tape.into_recording())?;
        Ok(Self { plan, layers })
    }
}

/// Sums over batches.
struct Sums {
    name: String,
    calibration: Calibration,
    /// `[k, k]`
    products: Vec<f64>,
    /// The same of every other batch, and its rows.
    seen: (Vec<f64>, u64),
}

impl Sums {
    fn new((name, k): &(String, usize)) -> Self {
        Self {
            name: name.clone(),
            calibration: Calibration::new(*k),
            products: vec![0.0; k * k],
            seen: (vec![0.0; k * k], 0),
        }
    }

    fn add(&mut self, (rows, products): (&[f32], &[f32]), is_seen: bool) -> Result<(), StageError> {
        let before = self.calibration.n_samples();
        self.calibration.add(&self.name, rows)?;
        if is_seen {
            self.seen.1 += self.calibration.n_samples() - before;
            for (sum, &product) in self.seen.0.iter_mut().zip(products) {
                *sum += f64::from(product);
            }
        }
        for (sum, &product) in self.products.iter_mut().zip(products) {
            *sum += f64::from(product);
        }
        Ok(())
    }
}
