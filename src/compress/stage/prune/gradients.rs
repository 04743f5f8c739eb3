//! Gradients of the loss with respect to a network's weights, over samples of a set: what first-order and
//! second-order scores need.

use crate::autograd::Tape;
use crate::compress::stage::StageError;
use crate::data::{Dataset, Loader, LoaderOptions};
use crate::engine::Engine;
use crate::kernels::FloatType;
use crate::models::{Mode, NamedTensor, Network, Pass, PassTensor, Role};
use crate::ops::OpError;
use crate::ops::nn::{Indices, Target, row_loss};
use crate::record::Recording;
use crate::tensor::{DType, HostTensor};
use crate::train::TrainError;

/// Of each tensor asked for, element by element.
#[derive(Debug, Clone, PartialEq)]
pub struct Gradients {
    /// Mean over batches of the gradient of a batch's mean loss.
    pub mean: Vec<f32>,
    /// Mean over batches of its square. In batches of one sample it is the diagonal of the empirical Fisher
    /// information.
    pub mean_square: Vec<f64>,
}

/// Gradients of the loss over prepared samples, as the network is in evaluation: running statistics, no dropout.
/// `names` are the tensors asked for, in the order of the result. Samples that do not fill a batch are left out.
///
/// # Errors
/// [`StageError`]: values that do not fit the network, a set smaller than a batch, and what the engine says.
pub fn gradients(
    engine: &dyn Engine,
    (network, values): (&dyn Network, &[NamedTensor]),
    (data, batch): (&Dataset, usize),
    names: &[&str],
) -> Result<Vec<Gradients>, StageError> {
    let mut uploads = Recording::new();
    let tensors: Vec<_> = values
        .iter()
        .map(|(_, value)| uploads.upload(value))
        .collect();
    engine.run(&uploads)?;

    let mut tape = Tape::new();
    let shape = [&[batch], network.sample_shape()].concat();
    let x = network
        .samples()
        .input(tape.recording(), DType::F32, &shape);
    let rows = batch * network.n_predictions();
    let labels = Indices::input(tape.recording(), "labels", &[rows], network.n_classes())?;
    let share = HostTensor::from_f32(vec![1], &[1.0 / rows as f32])?;
    let share = tape.recording().upload(&share);
    let mut asked = Vec::new();
    let mut on_tape = Vec::new();
    for (spec, tensor) in network.tensors().iter().zip(&tensors) {
        on_tape.push(match spec.role {
            Role::Statistics => PassTensor::Statistics {
                tensor: tensor.clone(),
                is_frozen: true,
            },
            Role::Parameter if names.contains(&spec.name.as_str()) => {
                let var = tape.parameter(tensor);
                asked.push((spec.name.clone(), var));
                PassTensor::Parameter(var)
            }
            Role::Parameter => PassTensor::Parameter(tape.constant(tensor)),
        });
    }
    let x = tape.constant(&x);
    let logits = network.record(&mut Pass::new(&mut tape, &on_tape, Mode::Evaluation), x)?;
    let value = tape.value(logits).clone();
    let target = Target::Labels {
        labels: &labels,
        smoothing: 0.0,
    };
    let made = row_loss(tape.recording(), &value, target, &share, FloatType::F32)?;
    let by_var = tape.backward(&[(logits, &made.gradient)])?;
    let mut recording = tape.into_recording();
    for name in names {
        let found = asked.iter().find(|(one, _)| one == name);
        let gradient = found.and_then(|(_, var)| by_var.get(*var));
        recording.download(gradient.ok_or_else(|| {
            StageError::from(TrainError::Unused {
                name: (*name).to_owned(),
            })
        })?);
    }
    let plan = engine.prepare(&recording)?;

    let mut sums: Vec<[Vec<f64>; 2]> = vec![[Vec::new(), Vec::new()]; names.len()];
    let loader = Loader::new(data.clone().into(), LoaderOptions::judging(batch))?;
    let mut count = 0u32;
    for one in loader.epoch(0)?.filter(|one| one.n_counted == batch) {
        check_labels(&labels, &one.labels)?;
        let inputs = [
            network
                .samples()
                .host(DType::F32, shape.clone(), &one.inputs)?,
            HostTensor::from_words_u32(vec![rows], &one.labels)?,
        ];
        for ([sum, square], gradient) in sums.iter_mut().zip(plan.run(&inputs)?) {
            let gradient = gradient.to_f32()?;
            sum.resize(gradient.len(), 0.0);
            square.resize(gradient.len(), 0.0);
            for ((sum, square), g) in sum.iter_mut().zip(square).zip(gradient) {
                let g = f64::from(g);
                *sum += g;
                *square += g * g;
            }
        }
        count += 1;
    }
    let n = f64::from(count.max(1));
    let mean = |[sum, square]: [Vec<f64>; 2]| Gradients {
        mean: sum.into_iter().map(|sum| (sum / n) as f32).collect(),
        mean_square: square.into_iter().map(|square| square / n).collect(),
    };
    Ok(sums.into_iter().map(mean).collect())
}

fn check_labels(labels: &Indices, values: &[u32]) -> Result<(), OpError> {
    labels.check(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::CpuEngine;
    use crate::eval::cross_entropy;
    use crate::models::{Layer, Sequential};
    use crate::num::Philox;
    use crate::ops::nn::Curve;
    use crate::train::Predictor;

    #[test]
    fn are_those_of_the_loss_by_central_differences() {
        let layers = vec![
            Layer::linear(5),
            Layer::BATCH_NORM,
            Layer::Activation(Curve::Silu),
            Layer::linear(3),
        ];
        let network = Sequential::new("test", &[4], layers).unwrap();
        let values = network.parameters(3).unwrap();
        let mut stream = Philox::new(1).stream(0);
        let inputs = (0..8 * 4).map(|_| stream.normal()).collect();
        let labels = (0..8).map(|row| row % 3).collect();
        let classes = (0..3).map(|class| class.to_string()).collect();
        let data = Dataset::new(inputs, vec![4], labels, classes).unwrap();
        let engine = CpuEngine::new();
        let names = ["3.weight", "0.weight"];
        let found = gradients(&engine, (&network, &values), (&data, 8), &names).unwrap();
        let single = gradients(&engine, (&network, &values), (&data, 1), &names).unwrap();
        let loss = |values: &[NamedTensor]| {
            let mut uploads = Recording::new();
            let tensors: Vec<_> = values.iter().map(|(_, v)| uploads.upload(v)).collect();
            engine.run(&uploads).unwrap();
            let predictor = Predictor::new(&engine, &network, &tensors, 8).unwrap();
            let logits = predictor.logits(data.inputs()).unwrap();
            cross_entropy(&logits, data.labels(), 3).unwrap()
        };
        for (name, (whole, single)) in names.iter().zip(found.iter().zip(&single)) {
            let at = values.iter().position(|(one, _)| one == name).unwrap();
            let weight = values[at].1.to_f32().unwrap();
            for index in 0..weight.len() {
                let moved = |by: f32| {
                    let mut changed = weight.clone();
                    changed[index] += by;
                    let mut values = values.clone();
                    let shape = values[at].1.shape().to_vec();
                    values[at].1 = HostTensor::from_f32(shape, &changed).unwrap();
                    loss(&values)
                };
                // A third of the f32 rounding of the logits, and the square of the step.
                let step = 1.0 / 64.0;
                let difference = (moved(step) - moved(-step)) / (2.0 * f64::from(step));
                let error = (difference - f64::from(whole.mean[index])).abs();
                assert!(
                    error < 2e-4,
                    "{name}[{index}]: {difference} {:?}",
                    whole.mean[index]
                );
                assert!((whole.mean[index] - single.mean[index]).abs() < 1e-6);
                let square = f64::from(whole.mean[index]).powi(2);
                assert!(
                    single.mean_square[index] >= square - 1e-9,
                    "a mean of squares"
                );
            }
        }
        assert!(gradients(&engine, (&network, &values), (&data, 8), &["4.weight"]).is_err());
        assert!(gradients(&engine, (&network, &values), (&data, 9), &names).is_err());
    }
}
