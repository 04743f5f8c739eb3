//! Operations of neural networks and their gradients: against PyTorch's results, against differences of the
//! functions, dispatch by dispatch on the adapter, and what they refuse.
//!
//! `tests/data/torch_operators.safetensors` holds operators with inputs, results, the gradient that arrives
//! and the gradients of the inputs, made by PyTorch 2.15.0 on the CPU in f32.

use lapidary::autograd::Tape;
use lapidary::engine::{CpuEngine, Engine};
use lapidary::io::safetensors::SafetensorsFile;
use lapidary::kernels::FloatType;
use lapidary::ops::OpError;
use lapidary::ops::nn::{
    Curve, Distribution, DropoutOptions, Indices, NormKind, NormOptions, Running, Target,
    activation, activation_backward, channel_sums, column_sums, dropout, embedding,
    embedding_backward, norm, norm_backward, norm_by_running, norm_by_running_backward,
    norm_parameters_backward, row_loss, softmax, softmax_backward,
};
use lapidary::record::{Recording, Tensor};
use lapidary::tensor::{DType, HostTensor};
use lapidary::verify::compare_recording;

use crate::support::{gpu, options, values};

const F32: FloatType = FloatType::F32;

/// Allowed difference from PyTorch's results, of the largest element of each.
const RELATIVE: f32 = 2e-6;

struct Torch(SafetensorsFile);

impl Torch {
    fn open() -> Self {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/data/torch_operators.safetensors"
        );
        Self(SafetensorsFile::open(path).expect("the fixture is part of the repository"))
    }

    fn get(&self, operator: &str, part: &str) -> HostTensor {
        let name = format!("op.{operator}.{part}");
        self.0
            .tensor(&name)
            .unwrap_or_else(|error| panic!("{error}"))
    }

    fn upload(&self, recording: &mut Recording, operator: &str, part: &str) -> Tensor {
        recording.upload(&self.get(operator, part))
    }
}

/// Recorded results with the names of what they should equal.
#[derive(Default)]
struct Wanted {
    recording: Recording,
    parts: Vec<(String, String)>,
}

impl Wanted {
    fn expect(&mut self, operator: &str, part: &str, result: &Tensor) {
        self.recording.download(result);
        self.parts.push((operator.to_owned(), part.to_owned()));
    }

    /// Every result is within `RELATIVE` of the largest element of PyTorch's, on both engines.
    fn judge(&self, torch: &Torch) {
        let adapter = gpu(options());
        let engines: [&dyn Engine; 2] = [&CpuEngine::new(), &adapter];
        for engine in engines {
            let results = engine.run(&self.recording).expect("runs");
            for ((operator, part), result) in self.parts.iter().zip(results) {
                let expected = torch.get(operator, part).to_f32().expect("f32");
                let got = result.to_f32().expect("f32");
                assert_eq!(got.len(), expected.len(), "{operator}.{part}");
                let largest = expected
                    .iter()
                    .fold(0.0_f32, |most, one| most.max(one.abs()));
                let worst = got.iter().zip(&expected);
                let worst = worst.fold(0.0_f32, |most, (a, b)| most.max((a - b).abs()));
                assert!(
                    worst <= RELATIVE * largest,
                    "{operator}.{part} on {}: {:e} of the largest",
                    engine.name(),
                    worst / largest
                );
            }
        }
        prove(&self.recording);
    }
}

/// Every dispatch of the recording is within its bound on the adapter.
fn prove(recording: &Recording) {
    let reports = compare_recording(&gpu(options()), recording).expect("runs");
    assert_eq!(reports.len(), recording.dispatches().count());
    for report in reports {
        let (kernel, shape, comparison) = (report.kernel, report.shape, report.comparison);
        assert!(
            comparison.elements > 0 && comparison.passed(),
            "{kernel} ({shape}): {comparison:?}"
        );
    }
}

fn upload(recording: &mut Recording, shape: &[usize], values: &[f32]) -> Tensor {
    recording.upload(&HostTensor::from_f32(shape.to_vec(), values).expect("shape fits"))
}

/// A factor of `value` for losses.
fn factor(recording: &mut Recording, value: f32) -> Tensor {
    upload(recording, &[1], &[value])
}

#[test]
fn activations_and_softmax_agree_with_torch() {
    let torch = Torch::open();
    let mut wanted = Wanted::default();
    for curve in Curve::ALL {
        let name = curve.name();
        let x = torch.upload(&mut wanted.recording, name, "in0");
        let dy = torch.upload(&mut wanted.recording, name, "gout");
        let y = activation(&mut wanted.recording, &x, curve, F32).expect("served");
        let dx = activation_backward(&mut wanted.recording, &x, &dy, curve, F32).expect("served");
        wanted.expect(name, "out", &y);
        wanted.expect(name, "grad0", &dx);
    }
    for distribution in Distribution::ALL {
        let name = distribution.name();
        let x = torch.upload(&mut wanted.recording, name, "in0");
        let dy = torch.upload(&mut wanted.recording, name, "gout");
        let y = softmax(&mut wanted.recording, &x, distribution, F32).expect("served");
        let dx = softmax_backward(&mut wanted.recording, &y, &dy, distribution, F32);
        wanted.expect(name, "out", &y);
        wanted.expect(name, "grad0", &dx.expect("served"));
    }
    wanted.judge(&torch);
}

#[test]
fn linear_layers_agree_with_torch() {
    let torch = Torch::open();
    let mut tape = Tape::new();
    let [x, weight, bias, dy] =
        ["in0", "in1", "in2", "gout"].map(|part| torch.upload(tape.recording(), "linear", part));
    let inputs = [&x, &weight, &bias].map(|one| tape.parameter(one));
    let y = tape.linear(inputs[0], inputs[1], Some(inputs[2]));
    let y = y.expect("shapes fit");
    let out = tape.value(y).clone();
    let gradients = tape.backward(&[(y, &dy)]).expect("recorded");
    let mut wanted = Wanted {
        recording: tape.into_recording(),
        ..Wanted::default()
    };
    wanted.expect("linear", "out", &out);
    for (input, part) in inputs.into_iter().zip(["grad0", "grad1", "grad2"]) {
        wanted.expect("linear", part, gradients.get(input).expect("has one"));
    }
    wanted.judge(&torch);
}

#[test]
fn normalizations_agree_with_torch() {
    let torch = Torch::open();
    let mut wanted = Wanted::default();
    for (name, kind) in [
        ("layernorm", NormKind::Layer),
        ("rmsnorm", NormKind::Rms),
        ("batchnorm_train", NormKind::Batch),
    ] {
        let recording = &mut wanted.recording;
        let x = torch.upload(recording, name, "in0");
        let gamma = torch.upload(recording, name, "in1");
        let beta = (kind != NormKind::Rms).then(|| torch.upload(recording, name, "in2"));
        let dy = torch.upload(recording, name, "gout");
        let options = NormOptions {
            kind,
            gamma: &gamma,
            beta: beta.as_ref(),
            epsilon: 1e-5,
            running: None,
            out: F32,
        };
        let made = norm(recording, &x, &options).expect("served");
        let operands = (&x, &made.statistics, &dy);
        let dx = norm_backward(recording, operands, kind, &gamma, F32).expect("served");
        let (dgamma, dbeta) = norm_parameters_backward(recording, operands, kind).expect("served");
        wanted.expect(name, "out", &made.y);
        wanted.expect(name, "grad0", &dx);
        wanted.expect(name, "grad1", &dgamma);
        if let Some(dbeta) = dbeta {
            wanted.expect(name, "grad2", &dbeta);
        }
    }
    wanted.judge(&torch);
}

#[test]
fn losses_and_their_gradients_agree_with_torch() {
    let torch = Torch::open();
    let mut wanted = Wanted::default();
    let arriving = |name: &str| torch.get(name, "gout").to_f32().expect("f32")[0];
    // Means: over rows, or over all 54 elements.
    let mean_of = |wanted: &mut Wanted, name: &str, losses: &Tensor, count: f32| {
        let recording = &mut wanted.recording;
        let row = Tensor::of_buffer(losses.buffer().clone(), DType::F32, &[losses.len(), 1]);
        let sum = column_sums(recording, &row).expect("served");
        let scaled = lapidary::ops::affine(recording, &sum, (1.0 / count, 0.0), F32);
        wanted.expect(name, "out", &scaled.expect("served"));
    };
    {
        let name = "cross_entropy";
        let x = torch.upload(&mut wanted.recording, name, "in0");
        let labels = torch.get(name, "target").to_i32().expect("i32");
        let labels: Vec<u32> = labels.into_iter().map(|label| label as u32).collect();
        let labels = Indices::upload(&mut wanted.recording, "labels", &[6], (&labels, 9));
        let target = Target::Labels {
            labels: &labels.expect("classes"),
            smoothing: 0.0,
        };
        let factor = factor(&mut wanted.recording, arriving(name) / 6.0);
        let made = row_loss(&mut wanted.recording, &x, target, &factor, F32).expect("served");
        wanted.expect(name, "grad0", &made.gradient);
        mean_of(&mut wanted, name, &made.losses, 6.0);
    }
    for (name, count) in [("distill_kl_T4", 6.0), ("mse", 54.0), ("bce_logits", 54.0)] {
        let x = torch.upload(&mut wanted.recording, name, "in0");
        let other = torch.upload(&mut wanted.recording, name, "in1");
        // PyTorch was given logistic(in1) as the target of binary cross-entropy.
        let chances = activation(&mut wanted.recording, &other, Curve::Sigmoid, F32);
        let chances = chances.expect("served");
        let target = match name {
            "distill_kl_T4" => Target::Teacher {
                logits: &other,
                temperature: 4.0,
            },
            "mse" => Target::Values(&other),
            _ => Target::Chances(&chances),
        };
        let factor = factor(&mut wanted.recording, arriving(name) / count);
        let made = row_loss(&mut wanted.recording, &x, target, &factor, F32).expect("served");
        wanted.expect(name, "grad0", &made.gradient);
        mean_of(&mut wanted, name, &made.losses, count);
    }
    wanted.judge(&torch);
}

#[test]
fn embeddings_agree_with_torch() {
    let torch = Torch::open();
    let mut wanted = Wanted::default();
    let table = torch.upload(&mut wanted.recording, "embedding", "in0");
    let dy = torch.upload(&mut wanted.recording, "embedding", "gout");
    let tokens = torch.get("embedding", "idx").to_i32().expect("i32");
    let tokens: Vec<u32> = tokens.into_iter().map(|token| token as u32).collect();
    let indices = Indices::upload(&mut wanted.recording, "tokens", &[3, 7], (&tokens, 20));
    let indices = indices.expect("tokens of the table");
    let rows = embedding(&mut wanted.recording, &table, &indices, F32).expect("served");
    assert_eq!(rows.shape(), [3, 7, 6]);
    let gradient = embedding_backward(&mut wanted.recording, &dy, &indices).expect("served");
    wanted.expect("embedding", "out", &rows);
    wanted.expect("embedding", "grad0", &gradient);
    wanted.judge(&torch);
}

/// Sum of `weights` times what `record` makes of x, on the CPU engine, in f64.
fn weighted_sum(
    shape: &[usize],
    (x, weights): (&[f32], &[f32]),
    record: &dyn Fn(&mut Recording, &Tensor) -> Tensor,
) -> f64 {
    let mut recording = Recording::new();
    let x = upload(&mut recording, shape, x);
    let y = record(&mut recording, &x);
    recording.download(&y);
    let y = CpuEngine::new().run(&recording).expect("runs").remove(0);
    let y = y.to_f32().expect("f32");
    let terms = y.iter().zip(weights);
    terms.map(|(&y, &w)| f64::from(y) * f64::from(w)).sum()
}

/// Compares a gradient with central differences; f32 results and steps of 1/64 leave about 1e-4 of it.
fn check_differences(
    shape: &[usize],
    (x, weights, gradient): (&[f32], &[f32], &[f32]),
    record: &dyn Fn(&mut Recording, &Tensor) -> Tensor,
) {
    let step = 1.0 / 64.0;
    let largest = gradient
        .iter()
        .fold(0.0_f32, |most, one| most.max(one.abs()));
    for index in 0..x.len() {
        let (mut above, mut below) = (x.to_vec(), x.to_vec());
        above[index] += step;
        below[index] -= step;
        let width = f64::from(above[index]) - f64::from(below[index]);
        let difference = (weighted_sum(shape, (&above, weights), record)
            - weighted_sum(shape, (&below, weights), record))
            / width;
        let error = (difference - f64::from(gradient[index])).abs();
        assert!(
            error <= 1e-3 * f64::from(largest),
            "[{index}]: difference {difference}, gradient {}",
            gradient[index]
        );
    }
}

/// What the recording downloads, on the CPU engine.
fn downloaded(recording: &Recording) -> Vec<Vec<f32>> {
    let results = CpuEngine::new().run(recording).expect("runs");
    results
        .iter()
        .map(|one| one.to_f32().expect("f32"))
        .collect()
}

#[test]
fn gradients_of_normalizations_are_differences_of_them() {
    let shape = [3, 4, 5];
    let (x, weights) = (values(1, 60), values(2, 60));
    for kind in [
        NormKind::Layer,
        NormKind::Rms,
        NormKind::Group(2),
        NormKind::Batch,
    ] {
        let channels = match kind {
            NormKind::Layer | NormKind::Rms => 5,
            NormKind::Group(_) | NormKind::Batch => 4,
        };
        let (gamma, beta) = (values(3, channels), values(4, channels));
        let normalize = |recording: &mut Recording, x: &Tensor, gamma: &Tensor| {
            let beta = upload(recording, &[channels], &beta);
            let options = NormOptions {
                kind,
                gamma,
                beta: (kind != NormKind::Rms).then_some(&beta),
                epsilon: 1e-2,
                running: None,
                out: F32,
            };
            norm(recording, x, &options).expect("served")
        };
        let mut recording = Recording::new();
        let at = upload(&mut recording, &shape, &x);
        let factors = upload(&mut recording, &[channels], &gamma);
        let dy = upload(&mut recording, &shape, &weights);
        let made = normalize(&mut recording, &at, &factors);
        let operands = (&at, &made.statistics, &dy);
        let dx = norm_backward(&mut recording, operands, kind, &factors, F32).expect("served");
        let (dgamma, dbeta) =
            norm_parameters_backward(&mut recording, operands, kind).expect("served");
        recording.download(&dx);
        recording.download(&dgamma);
        assert_eq!(dbeta.is_some(), kind != NormKind::Rms);
        let gradients = downloaded(&recording);
        check_differences(&shape, (&x, &weights, &gradients[0]), &|recording, x| {
            let gamma = upload(recording, &[channels], &gamma);
            normalize(recording, x, &gamma).y
        });
        let of_gamma = (&gamma[..], &weights[..], &gradients[1][..]);
        check_differences(&[channels], of_gamma, &|recording, gamma| {
            let x = upload(recording, &shape, &x);
            normalize(recording, &x, gamma).y
        });
        prove(&recording);
    }
}

#[test]
fn gradients_of_smoothed_and_soft_losses_are_differences_of_them() {
    let (x, weights, soft) = (values(1, 28), vec![1.0; 4], values(2, 28));
    let soft: Vec<f32> = soft.iter().map(|one| one.abs()).collect();
    for smoothed in [false, true] {
        let record = |recording: &mut Recording, x: &Tensor| {
            let factor = factor(recording, 1.0);
            let labels = Indices::upload(recording, "labels", &[4], (&[0, 6, 3, 3], 7));
            let labels = labels.expect("classes");
            let soft = upload(recording, &[4, 7], &soft);
            let target = if smoothed {
                Target::Labels {
                    labels: &labels,
                    smoothing: 0.2,
                }
            } else {
                Target::Soft {
                    weights: &soft,
                    smoothing: 0.1,
                }
            };
            row_loss(recording, x, target, &factor, F32).expect("served")
        };
        let mut recording = Recording::new();
        let at = upload(&mut recording, &[4, 7], &x);
        let made = record(&mut recording, &at);
        recording.download(&made.gradient);
        let gradient = downloaded(&recording).remove(0);
        check_differences(&[4, 7], (&x, &weights, &gradient), &|recording, x| {
            record(recording, x).losses
        });
        prove(&recording);
    }
}

#[test]
fn running_statistics_move_by_the_momentum_with_the_unbiased_variance() {
    let x = values(1, 2 * 3 * 4);
    let mut recording = Recording::new();
    let input = upload(&mut recording, &[2, 3, 4], &x);
    let ones = upload(&mut recording, &[3], &[1.0; 3]);
    let zeros = upload(&mut recording, &[3], &[0.0; 3]);
    let statistics = upload(&mut recording, &[3, 2], &[0.0, 1.0, 0.0, 1.0, 0.0, 1.0]);
    let options = NormOptions {
        kind: NormKind::Batch,
        gamma: &ones,
        beta: Some(&zeros),
        epsilon: 1e-5,
        running: Some(Running {
            statistics: &statistics,
            momentum: 0.1,
        }),
        out: F32,
    };
    for _ in 0..2 {
        norm(&mut recording, &input, &options).expect("served");
    }
    recording.download(&statistics);
    prove(&recording);
    let adapter = gpu(self::options())
        .run(&recording)
        .expect("runs")
        .remove(0);
    let running = adapter.to_f32().expect("f32");
    for channel in 0..3 {
        let of_item = |item: usize| &x[(3 * item + channel) * 4..][..4];
        let values: Vec<f32> = [of_item(0), of_item(1)].concat();
        let mean = values.iter().sum::<f32>() / 8.0;
        let variance = values.iter().map(|one| (one - mean).powi(2)).sum::<f32>() / 7.0;
        assert!((running[2 * channel] - 0.19 * mean).abs() < 1e-6);
        assert!((running[2 * channel + 1] - (0.81 + 0.19 * variance)).abs() < 1e-6);
    }
}

#[test]
fn a_batch_normalized_by_its_own_statistics_is_what_training_makes_of_it() {
    let (shape, x) = ([3, 4, 5], values(1, 60));
    let mut recording = Recording::new();
    let at = upload(&mut recording, &shape, &x);
    let gamma = upload(&mut recording, &[4], &values(2, 4));
    let beta = upload(&mut recording, &[4], &values(3, 4));
    let statistics: Vec<f32> = (0..4)
        .flat_map(|channel| {
            let of_item = |item: usize| x[(4 * item + channel) * 5..][..5].to_vec();
            let values: Vec<f32> = (0..3).flat_map(of_item).collect();
            let mean = values.iter().sum::<f32>() / 15.0;
            let squares = values.iter().map(|one| (one - mean).powi(2));
            [mean, squares.sum::<f32>() / 15.0]
        })
        .collect();
    let running = upload(&mut recording, &[4, 2], &statistics);
    let options = NormOptions {
        kind: NormKind::Batch,
        gamma: &gamma,
        beta: Some(&beta),
        epsilon: 1e-5,
        running: None,
        out: F32,
    };
    let trained = norm(&mut recording, &at, &options).expect("served");
    let parameters = (&gamma, &beta, 1e-5);
    let applied = norm_by_running(&mut recording, &at, &running, parameters, F32).expect("served");
    let dy = upload(&mut recording, &shape, &values(4, 60));
    let dx = norm_by_running_backward(&mut recording, &dy, &running, (&gamma, 1e-5), F32);
    recording.download(&trained.y);
    recording.download(&applied);
    recording.download(&dx.expect("served"));
    prove(&recording);
    let results = downloaded(&recording);
    let pairs = results[0].iter().zip(&results[1]);
    assert!(pairs.into_iter().all(|(a, b)| (a - b).abs() < 1e-5));
    let weights = values(4, 60);
    check_differences(&shape, (&x, &weights, &results[2]), &|recording, x| {
        let gamma = upload(recording, &[4], &values(2, 4));
        let running = upload(recording, &[4, 2], &statistics);
        norm_by_running(recording, x, &running, (&gamma, &gamma, 1e-5), F32).expect("served")
    });
}

#[test]
fn a_plan_drops_other_elements_at_each_step_and_the_same_on_every_engine() {
    let mut recording = Recording::new();
    let x = upload(&mut recording, &[40, 25], &[1.0; 1000]);
    let step = recording.input(DType::U32, &[1]);
    let settings = DropoutOptions {
        probability: 0.25,
        seed: 11,
        stream: 3,
    };
    let y = dropout(&mut recording, &x, &settings, &step, F32).expect("served");
    let dx = dropout(&mut recording, &y, &settings, &step, F32).expect("served");
    recording.download(&y);
    recording.download(&dx);
    let adapter = gpu(options());
    let (on_adapter, on_cpu) = (
        adapter.prepare(&recording).expect("prepared"),
        CpuEngine::new().prepare(&recording).expect("prepared"),
    );
    let mut masks = Vec::new();
    for step in [0, 1, 0] {
        let step = HostTensor::from_words_u32(vec![1], &[step]).expect("one word");
        let results = on_adapter.run(std::slice::from_ref(&step)).expect("runs");
        assert_eq!(results, on_cpu.run(&[step]).expect("runs"));
        let y = results[0].to_f32().expect("f32");
        let kept = y.iter().filter(|&&one| one != 0.0).count();
        assert!((700..800).contains(&kept), "{kept} of 1000 kept");
        // The gradient goes through what was kept and nothing else.
        let dx = results[1].to_f32().expect("f32");
        assert!(y.iter().zip(&dx).all(|(y, dx)| (*y == 0.0) == (*dx == 0.0)));
        masks.push(y);
    }
    assert_eq!(masks[0], masks[2]);
    assert_ne!(masks[0], masks[1]);
}

#[test]
fn half_precision_operations_are_proven_dispatch_by_dispatch() {
    for half in [FloatType::F16, FloatType::Bf16] {
        let mut recording = Recording::new();
        let host = HostTensor::from_f32_as(half.dtype(), vec![300, 4, 6], &values(1, 7200));
        let x = recording.upload(&host.expect("shape fits"));
        let gamma = upload(&mut recording, &[4], &values(2, 4));
        let options = NormOptions {
            kind: NormKind::Group(2),
            gamma: &gamma,
            beta: Some(&gamma),
            epsilon: 1e-5,
            running: None,
            out: half,
        };
        let made = norm(&mut recording, &x, &options).expect("served");
        let curve = Curve::Silu;
        let y = activation(&mut recording, &made.y, curve, half).expect("served");
        let shares = softmax(&mut recording, &y, Distribution::Softmax, half).expect("served");
        let dy = softmax_backward(&mut recording, &shares, &y, Distribution::Softmax, half);
        let dy = dy.expect("served");
        let dy = activation_backward(&mut recording, &made.y, &dy, curve, half).expect("served");
        let operands = (&x, &made.statistics, &dy);
        norm_backward(&mut recording, operands, options.kind, &gamma, half).expect("served");
        norm_parameters_backward(&mut recording, operands, options.kind).expect("served");
        // 300 items are summed in chunks, and the chunks again.
        let sums = channel_sums(&mut recording, &dy).expect("served");
        assert_eq!((sums.shape(), sums.dtype()), (&[4][..], DType::F32));
        prove(&recording);
    }
}

#[test]
fn refusals_name_the_operand_and_what_is_allowed() {
    let mut recording = Recording::new();
    let x = upload(&mut recording, &[2, 7], &values(1, 14));
    let one = factor(&mut recording, 1.0);
    let labels = Indices::upload(&mut recording, "labels", &[2], (&[1, 10], 10));
    let error = labels.expect_err("10 classes");
    assert_eq!(error.to_string(), "labels[1] is 10, allowed: 0 to 9");
    let labels = Indices::upload(&mut recording, "labels", &[2], (&[1, 9], 10)).expect("classes");
    let before = recording.commands().len();
    let target = Target::Labels {
        labels: &labels,
        smoothing: 0.0,
    };
    let error = row_loss(&mut recording, &x, target, &one, F32).expect_err("7 is not 10");
    assert_eq!(
        error.to_string(),
        "row_loss: x has shape [2, 7], expected a last dimension of the 10 classes"
    );
    let error = softmax(&mut recording, &x, Distribution::Softmax, FloatType::F16);
    assert_eq!(
        error.expect_err("rows share words").to_string(),
        "softmax: columns = 7 is not a multiple of elements in a word, 2"
    );
    let gamma = upload(&mut recording, &[7], &[1.0; 7]);
    let options = NormOptions {
        kind: NormKind::Rms,
        gamma: &gamma,
        beta: Some(&gamma),
        epsilon: 1e-5,
        running: None,
        out: F32,
    };
    let error = norm(&mut recording, &x, &options).expect_err("no beta");
    assert!(matches!(error, OpError::Shape { what: "beta", .. }));
    let error = embedding(&mut recording, &x, &labels, F32).expect_err("2 rows, not 10");
    assert!(matches!(error, OpError::Shape { what: "table", .. }));
    // The upload of gamma is all that was added.
    assert_eq!(recording.commands().len(), before + 1);
}

#[test]
fn rows_of_a_quantized_table_are_those_of_its_dequantized_matrix() {
    use lapidary::num::{Scheme, quantize};
    use lapidary::ops::{Weight, nn::embedding_quantized};
    let table = quantize("table", &values(3, 5 * 48), 5, 48, &Scheme::int4_group(24));
    let table = table.expect("finite");
    let mut recording = Recording::new();
    let Weight::Quantized(weight) = Weight::upload_quantized(&mut recording, &table) else {
        panic!("a quantized matrix is uploaded as it is");
    };
    let indices = Indices::upload(&mut recording, "tokens", &[2, 2], (&[4, 0, 1, 4], 5));
    let rows = embedding_quantized(&mut recording, &weight, &indices.expect("in range"), F32);
    let rows = rows.expect("served");
    assert_eq!(rows.shape(), [2, 2, 48]);
    recording.download(&rows);
    let whole = table.dequantize();
    let got = CpuEngine::new().run(&recording).expect("runs")[0].to_f32();
    for (row, &index) in got.expect("f32").chunks(48).zip(&[4, 0, 1, 4]) {
        assert_eq!(row, &whole[48 * index..48 * (index + 1)]);
    }
    prove(&recording);
    let few = Indices::upload(&mut recording, "tokens", &[1], (&[0], 4)).expect("in range");
    let refused = embedding_quantized(&mut recording, &weight, &few, F32);
    assert!(matches!(refused, Err(OpError::Shape { what: "table", .. })));
}

#[test]
fn the_largest_elements_come_with_their_places_and_no_more_than_a_row_has() {
    use lapidary::ops::nn::top_k;
    let mut recording = Recording::new();
    let x = upload(
        &mut recording,
        &[2, 4],
        &[1.0, 3.0, 3.0, -1.0, 0.0, 0.5, 2.0, 9.0],
    );
    let chosen = top_k(&mut recording, &x, 3).expect("served");
    recording.download(&chosen.indices);
    recording.download(&chosen.values);
    for results in [
        CpuEngine::new().run(&recording).expect("runs"),
        gpu(options()).run(&recording).expect("runs"),
    ] {
        assert_eq!(results[0].words(), [1, 2, 0, 3, 2, 1]);
        assert_eq!(
            results[1].to_f32().expect("f32"),
            [3.0, 3.0, 1.0, 9.0, 2.0, 0.5]
        );
    }
    let refused = top_k(&mut recording, &x, 5);
    assert!(matches!(refused, Err(OpError::Kernel(_))), "{refused:?}");
}
