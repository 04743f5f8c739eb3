//! burn's step of training: its modules, loss, automatic gradients and Adam on its wgpu backend.

use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::{Linear, LinearConfig};
use burn::optim::{AdamConfig, GradientsParams, ModuleOptimizer};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::burn::guarded;
use crate::measure::Failure;
use crate::training::{BATCH, CLASSES, HIDDEN, INPUTS, LEARNING_RATE, Samples};

#[derive(Module, Debug)]
struct Perceptron {
    hidden: Linear,
    output: Linear,
}

/// A perceptron and its optimizer.
pub struct BurnTraining {
    device: Device,
    /// `None` only while a step is taken.
    model: Option<Perceptron>,
    optimizer: ModuleOptimizer,
}

impl BurnTraining {
    pub fn new(device: &Device) -> Result<Self, Failure> {
        guarded(|| {
            let device = device.clone().autodiff();
            let model = Perceptron {
                hidden: LinearConfig::new(INPUTS, HIDDEN).init(&device),
                output: LinearConfig::new(HIDDEN, CLASSES).init(&device),
            };
            Ok(Self {
                device,
                model: Some(model),
                optimizer: AdamConfig::new().with_epsilon(1e-8).init(),
            })
        })
    }

    /// One step; returns its loss.
    pub fn step(&mut self, samples: &Samples) -> Result<f32, Failure> {
        let model = self.model.take().ok_or("an earlier step failed")?;
        let (device, optimizer) = (&self.device, &mut self.optimizer);
        let (model, loss) = guarded(|| {
            let x = TensorData::new(samples.inputs.clone(), [BATCH, INPUTS]);
            let x = Tensor::<2>::from_data(x, device);
            let labels: Vec<i32> = samples.labels.iter().map(|&label| label as i32).collect();
            let labels = TensorData::new(labels, [BATCH]);
            let labels = Tensor::<1, Int>::from_data(labels, device);
            let logits = model.output.forward(relu(model.hidden.forward(x)));
            let loss = CrossEntropyLossConfig::new()
                .init(device)
                .forward(logits, labels);
            let gradients = GradientsParams::from_grads(loss.backward(), &model);
            let model = optimizer.step(LEARNING_RATE, model, gradients);
            let values: Vec<f32> = loss
                .into_data()
                .try_to_vec()
                .map_err(|error| error.to_string())?;
            device.sync()?;
            Ok((model, values.first().copied().ok_or("no loss")?))
        })?;
        self.model = Some(model);
        Ok(loss)
    }
}
