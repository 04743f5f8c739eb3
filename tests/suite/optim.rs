//! Optimizers against PyTorch: fifty steps of twelve of them on a small network, in f64, on the CPU
//! engine and on the GPU. Where the numbers come from is said in `tests/data/README.md`.
//!
//! Gradients are computed here in f64, at the parameters that the engine under test has. PyTorch's
//! trajectory is in f32, so its own roundings are in every difference: 2^-24 of a parameter at each of
//! 50 steps, and the same of gradients, which the network's curvature carries on. 1e-5 of the largest
//! parameter is what the references are meant to be met with; every difference is printed.

use std::path::Path;

use lapidary::engine::{CpuEngine, Engine};
use lapidary::io::safetensors::SafetensorsFile;
use lapidary::num::optim::{Control, Convention, Method, Optimizer, Penalty};
use lapidary::ops::optim::{Parameter, Step, coefficients, plain_control, step, table};
use lapidary::record::Recording;
use lapidary::tensor::{DType, HostTensor};

use crate::support::{gpu, options};

const STEPS: usize = 50;
const TOLERANCE: f64 = 1e-5;
const BATCH: usize = 64;
const INPUTS: usize = 16;
const HIDDEN: usize = 12;
const CLASSES: usize = 5;

/// Name in the file, optimizer, learning rate.
fn references() -> Vec<(&'static str, Optimizer, f64)> {
    let torch = |name| Optimizer::named(name, Convention::PyTorch).expect("a name");
    let adamw = torch("adamw");
    vec![
        ("sgd", torch("sgd"), 0.1),
        ("sgd_mom", torch("momentum"), 0.05),
        (
            "sgd_nesterov_wd",
            torch("nesterov").with_penalty(Penalty {
                l2: 0.01,
                ..Penalty::default()
            }),
            0.05,
        ),
        ("adam", torch("adam"), 0.01),
        (
            "adamw",
            adamw.with_penalty(Penalty {
                decoupled: 0.1,
                ..Penalty::default()
            }),
            0.01,
        ),
        (
            "adamw_amsgrad",
            Optimizer {
                method: Method::Adam {
                    betas: [0.9, 0.999],
                    epsilon: 1e-8,
                    amsgrad: true,
                },
                ..adamw
            },
            0.01,
        ),
        ("rmsprop", torch("rmsprop"), 0.005),
        ("adagrad", torch("adagrad"), 0.05),
        ("adadelta", torch("adadelta"), 1.0),
        ("adamax", torch("adamax"), 0.01),
        ("nadam", torch("nadam"), 0.01),
        ("radam", torch("radam"), 0.01),
    ]
}

/// The file's tensors as f64.
struct Torch(SafetensorsFile);

impl Torch {
    fn open() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/torch_optim.safetensors");
        Self(SafetensorsFile::open(&path).expect("the test data are part of the repository"))
    }

    fn values(&self, name: &str) -> Vec<f64> {
        let tensor = self
            .0
            .tensor(name)
            .unwrap_or_else(|error| panic!("{error}"));
        match tensor.dtype() {
            DType::I32 => tensor
                .to_i32()
                .expect("i32")
                .into_iter()
                .map(f64::from)
                .collect(),
            _ => tensor
                .to_f32()
                .expect("f32")
                .into_iter()
                .map(f64::from)
                .collect(),
        }
    }

    fn four(&self, prefix: &str) -> Vec<Vec<f64>> {
        (0..4)
            .map(|index| self.values(&format!("{prefix}.{index}")))
            .collect()
    }
}

/// Tanh network with mean cross-entropy: the loss and the gradients of its four parameters.
struct Network {
    x: Vec<f64>,
    labels: Vec<usize>,
}

impl Network {
    fn new(torch: &Torch) -> Self {
        let labels = torch.values("Y").into_iter().map(|label| label as usize);
        Self {
            x: torch.values("X"),
            labels: labels.collect(),
        }
    }

    fn gradients(&self, parameters: &[Vec<f64>]) -> (f64, Vec<Vec<f64>>) {
        let [w1, b1, w2, b2] = parameters else {
            panic!("four parameters");
        };
        let mut loss = 0.0;
        let mut gradients: Vec<Vec<f64>> = parameters.iter().map(|p| vec![0.0; p.len()]).collect();
        for (x, &label) in self.x.chunks(INPUTS).zip(&self.labels) {
            let dot = |w: &[f64], x: &[f64]| w.iter().zip(x).map(|(w, x)| w * x).sum::<f64>();
            let hidden: Vec<f64> = (0..HIDDEN)
                .map(|j| (dot(&w1[j * INPUTS..][..INPUTS], x) + b1[j]).tanh())
                .collect();
            let logits: Vec<f64> = (0..CLASSES)
                .map(|c| dot(&w2[c * HIDDEN..][..HIDDEN], &hidden) + b2[c])
                .collect();
            let largest = logits.iter().copied().fold(f64::MIN, f64::max);
            let sum: f64 = logits.iter().map(|z| (z - largest).exp()).sum();
            loss += largest + sum.ln() - logits[label];
            let mut of_hidden = [0.0; HIDDEN];
            for c in 0..CLASSES {
                let share = (logits[c] - largest).exp() / sum;
                let of_logit = (share - f64::from(u8::from(c == label))) / BATCH as f64;
                gradients[3][c] += of_logit;
                for j in 0..HIDDEN {
                    gradients[2][c * HIDDEN + j] += of_logit * hidden[j];
                    of_hidden[j] += of_logit * w2[c * HIDDEN + j];
                }
            }
            for j in 0..HIDDEN {
                let of_sum = of_hidden[j] * (1.0 - hidden[j] * hidden[j]);
                gradients[1][j] += of_sum;
                for (gradient, x) in gradients[0][j * INPUTS..][..INPUTS].iter_mut().zip(x) {
                    *gradient += of_sum * x;
                }
            }
        }
        (loss / BATCH as f64, gradients)
    }
}

/// Losses before each step, and the parameters after each.
type Trajectory = (Vec<f64>, Vec<Vec<Vec<f64>>>);

/// Training with whatever makes a step of parameters and gradients.
fn train(
    network: &Network,
    mut parameters: Vec<Vec<f64>>,
    mut step: impl FnMut(u64, &[Vec<f64>], &[Vec<f64>]) -> Vec<Vec<f64>>,
) -> Trajectory {
    let (mut losses, mut all) = (Vec::new(), Vec::new());
    for call in 1..=STEPS as u64 {
        let (loss, gradients) = network.gradients(&parameters);
        losses.push(loss);
        parameters = step(call, &parameters, &gradients);
        all.push(parameters.clone());
    }
    (losses, all)
}

fn in_f64(network: &Network, init: Vec<Vec<f64>>, optimizer: &Optimizer, rate: f64) -> Trajectory {
    let mut states: Vec<Vec<f64>> = init
        .iter()
        .map(|p| optimizer.initial_state().repeat(p.len()))
        .collect();
    let control = Control {
        factor: 1.0,
        limit: f64::MAX,
    };
    train(network, init, |call, parameters, gradients| {
        let row = optimizer.coefficients(call, rate);
        let mut next = parameters.to_vec();
        for ((p, g), state) in next.iter_mut().zip(gradients).zip(&mut states) {
            optimizer.step(&row, control, (p, g), state);
        }
        next
    })
}

/// One plan, replayed: gradients and coefficients in, parameters out.
fn on_engine(
    engine: &dyn Engine,
    network: &Network,
    init: Vec<Vec<f64>>,
    (optimizer, rate): (&Optimizer, f64),
) -> Trajectory {
    let host = |values: &[f64]| {
        let values: Vec<f32> = values.iter().map(|&value| value as f32).collect();
        HostTensor::from_f32(vec![values.len()], &values).expect("one dimension")
    };
    let mut recording = Recording::new();
    let rows = coefficients(&mut recording, 1);
    let control = plain_control(&mut recording).expect("records");
    let shared = Step {
        optimizer,
        coefficients: &rows,
        control: &control,
    };
    for parameter in &init {
        let value = recording.upload(&host(parameter));
        let parameter = Parameter::new(&mut recording, optimizer, &value).expect("f32");
        let gradient = recording.input(DType::F32, value.shape());
        step(&mut recording, &shared, &parameter, &gradient).expect("records");
        recording.download(&value);
    }
    let plan = engine.prepare(&recording).expect("prepares");
    train(network, init, |call, _, gradients| {
        let mut inputs = vec![table(optimizer, rate, (call, 0), 1).expect("small")];
        inputs.extend(gradients.iter().map(|gradient| host(gradient)));
        let made = plan.run(&inputs).expect("runs");
        made.iter()
            .map(|one| {
                one.to_f32()
                    .expect("f32")
                    .into_iter()
                    .map(f64::from)
                    .collect()
            })
            .collect()
    })
}

/// Largest difference over the largest element.
fn difference(got: &[Vec<f64>], expected: &[Vec<f64>]) -> f64 {
    let largest = expected
        .iter()
        .flatten()
        .fold(0.0, |a: f64, b| a.max(b.abs()));
    let pairs = got.iter().flatten().zip(expected.iter().flatten());
    pairs.fold(0.0, |worst: f64, (a, b)| worst.max((a - b).abs())) / largest
}

/// Losses, parameters after the first and the last step.
fn compare(what: &str, (losses, parameters): &Trajectory, torch: &Torch, name: &str) {
    let expected = torch.values(&format!("{name}.losses"));
    assert_eq!(losses.len(), expected.len());
    let of_losses = losses
        .iter()
        .zip(&expected)
        .fold(0.0, |worst: f64, (a, b)| worst.max((a - b).abs() / b));
    let first = difference(&parameters[0], &torch.four(&format!("{name}.step1")));
    let last = difference(
        &parameters[STEPS - 1],
        &torch.four(&format!("{name}.step50")),
    );
    println!("{what} {name}: losses {of_losses:.1e}, step 1 {first:.1e}, step 50 {last:.1e}");
    for (part, worst) in [("losses", of_losses), ("step 1", first), ("step 50", last)] {
        assert!(worst <= TOLERANCE, "{what} {name}: {part} off by {worst:e}");
    }
}

#[test]
fn fifty_steps_in_f64_are_those_of_pytorch() {
    let torch = Torch::open();
    let network = Network::new(&torch);
    for (name, optimizer, rate) in references() {
        let made = in_f64(&network, torch.four("init"), &optimizer, rate);
        compare("f64", &made, &torch, name);
    }
}

#[test]
fn fifty_steps_on_both_engines_are_those_of_pytorch_and_of_the_definition() {
    let torch = Torch::open();
    let network = Network::new(&torch);
    let (on_gpu, on_cpu) = (gpu(options()), CpuEngine::new());
    for (name, optimizer, rate) in references() {
        let definition = in_f64(&network, torch.four("init"), &optimizer, rate);
        for engine in [&on_gpu as &dyn Engine, &on_cpu] {
            let made = on_engine(engine, &network, torch.four("init"), (&optimizer, rate));
            compare(&engine.name(), &made, &torch, name);
            for (got, expected) in made.1.iter().zip(&definition.1) {
                let worst = difference(got, expected);
                assert!(
                    worst <= TOLERANCE,
                    "{name}: off the definition by {worst:e}"
                );
            }
        }
    }
}
