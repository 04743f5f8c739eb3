//! Quantization-aware training: fake-quantized tensors bit for bit as the quantizer makes them, gradients by
//! their definitions, and a trained network that computes the same once it is exported to integers.

use lapidary::autograd::{Tape, Var};
use lapidary::data::{Dataset, Loader, LoaderOptions};
use lapidary::engine::{CpuEngine, Engine};
use lapidary::io::safetensors::SafetensorsFile;
use lapidary::kernels::{Activation, FloatType, U, gamma};
use lapidary::models::{
    FakeQuantized, First, LayerSummary, Mlp, NamedTensor, Network, Pass, Role, SeenScales,
    TensorSpec, learned_scale_name,
};
use lapidary::num::optim::{Convention, Optimizer};
use lapidary::num::quant::fake::{
    fake_quantize as definition, first_learned_scale, learned_scale_factor, stored_learned_scale,
};
use lapidary::num::{
    Bits, CodeRange, Granularity, QuantizedMatrix, QuantizedParts, Rounding, ScaleRule, ScaleType,
    Scheme, quantize,
};
use lapidary::ops::nn::{
    Coding, Curve, ScaleScope, Scales, ScalesOf, fake_quantize, quant_scales, stored_scales,
};
use lapidary::ops::{ActivationPath, LinearOptions, OpError, Weight, linear};
use lapidary::record::Recording;
use lapidary::tensor::HostTensor;
use lapidary::train::{Start, TrainOptions, Trainer};
use lapidary::verify::compare_recording;

use crate::support::{gpu, options, values};

const F32: FloatType = FloatType::F32;

fn host(shape: &[usize], values: &[f32]) -> HostTensor {
    HostTensor::from_f32(shape.to_vec(), values).expect("shape fits")
}

fn bits(tensor: &HostTensor) -> Vec<u32> {
    let values = tensor.to_f32().expect("f32");
    values.iter().map(|value| value.to_bits()).collect()
}

fn schemes() -> Vec<Scheme> {
    let starts = [
        Scheme::int8_tensor(),
        Scheme::int8_channel(),
        Scheme::int4_channel(),
        Scheme::int8_group(32),
        Scheme::int4_group(32),
        Scheme::compressed_tensors_int4(8),
    ];
    let rules = [
        ScaleRule::RestrictedAbsMax,
        ScaleRule::FullRangeAbsMax,
        ScaleRule::SignedAbsMax,
    ];
    let of = |&start: &Scheme| rules.map(|rule| Scheme { rule, ..start });
    starts.iter().flat_map(of).collect()
}

#[test]
fn a_weight_takes_the_values_that_quantizing_it_gives_bit_for_bit() {
    let (n, k) = (24, 96);
    let mut w = values(3, n * k);
    // Ties and their neighbours under a scale of 2^-7: a row whose largest is 127 steps, or 7.
    for (index, value) in w[..k].iter_mut().enumerate() {
        let tie = (index as f32 - 48.5) / 128.0;
        *value = [tie, tie.next_up(), tie.next_down()][index % 3];
    }
    w[0] = 127.0 / 128.0;
    let mut recording = Recording::new();
    let x = recording.upload(&host(&[n, k], &w));
    let mut expected = Vec::new();
    for scheme in schemes() {
        let matrix = quantize("w", &w, n, k, &scheme).expect("finite");
        let (coding, of) = Coding::of_scheme(&scheme).expect("served");
        let scales = quant_scales(&mut recording, &x, coding, of).expect("served");
        let given = Scales {
            scales: &scales,
            zeros: None,
        };
        let y = fake_quantize(&mut recording, &x, &given, coding, F32).expect("served");
        recording.download(&scales);
        recording.download(&y);
        expected.push((scheme, matrix.scales().to_vec()));
        expected.push((scheme, matrix.dequantize()));
    }
    let adapter = gpu(options());
    for engine in [&CpuEngine::new() as &dyn Engine, &adapter] {
        let made = engine.run(&recording).expect("runs");
        for ((scheme, expected), made) in expected.iter().zip(&made) {
            let expected: Vec<u32> = expected.iter().map(|value| value.to_bits()).collect();
            assert_eq!(bits(made), expected, "{scheme:?} on {}", engine.name());
        }
    }
}

#[test]
fn zero_points_give_the_values_that_the_quantizer_gives_bit_for_bit() {
    let (n, k) = (12, 64);
    let w: Vec<f32> = values(4, n * k).iter().map(|x| x + 0.4).collect();
    let mut recording = Recording::new();
    let x = recording.upload(&host(&[n, k], &w));
    let mut expected = Vec::new();
    let int8 = Scheme {
        rule: ScaleRule::MinMax,
        ..Scheme::int8_channel()
    };
    for (scheme, scope) in [
        (Scheme::int4_group_zero_point(32), ScaleScope::Group(32)),
        (int8, ScaleScope::Channel),
    ] {
        let matrix = quantize("w", &w, n, k, &scheme).expect("finite");
        let zeros = matrix.zeros().expect("stored");
        let zeros: Vec<i8> = zeros.iter().map(|&zero| zero as i8).collect();
        assert!(zeros.iter().any(|&zero| zero != 0));
        let count = matrix.scales().len();
        let scales = recording.upload(&host(&[count], matrix.scales()));
        let zeros = HostTensor::from_i8(vec![count], &zeros).expect("fits");
        let zeros = recording.upload(&zeros);
        let coding = Coding {
            scope,
            range: CodeRange::stored_as(scheme.bits),
        };
        let given = Scales {
            scales: &scales,
            zeros: Some(&zeros),
        };
        let y = fake_quantize(&mut recording, &x, &given, coding, F32).expect("served");
        recording.download(&y);
        expected.push(matrix.dequantize());
    }
    let adapter = gpu(options());
    for engine in [&CpuEngine::new() as &dyn Engine, &adapter] {
        for (made, expected) in engine.run(&recording).expect("runs").iter().zip(&expected) {
            let expected: Vec<u32> = expected.iter().map(|value| value.to_bits()).collect();
            assert_eq!(bits(made), expected, "on {}", engine.name());
        }
    }
}

#[test]
fn fake_quantization_per_channel_agrees_with_torch() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/data/torch_fake_quantize.safetensors"
    );
    let file = SafetensorsFile::open(path).expect("the fixture is part of the repository");
    let tensor = |name: &str| file.tensor(name).expect("there");
    let mut recording = Recording::new();
    let x = recording.upload(&tensor("fq.x"));
    let mut expected = Vec::new();
    for bits in [8, 4] {
        let coding = Coding {
            scope: ScaleScope::Channel,
            range: CodeRange::of_bits(bits).expect("a width"),
        };
        let of = ScalesOf {
            rule: ScaleRule::RestrictedAbsMax,
            scale_type: ScaleType::F32,
        };
        let own = quant_scales(&mut recording, &x, coding, of).expect("served");
        let scales = recording.upload(&tensor(&format!("fq.sym{bits}_scale")));
        let given = Scales {
            scales: &scales,
            zeros: None,
        };
        let y = fake_quantize(&mut recording, &x, &given, coding, F32).expect("served");
        recording.download(&own);
        recording.download(&y);
        expected.push(tensor(&format!("fq.sym{bits}_scale")));
        expected.push(tensor(&format!("fq.sym{bits}_perchannel")));
    }
    let adapter = gpu(options());
    for engine in [&CpuEngine::new() as &dyn Engine, &adapter] {
        for (made, expected) in engine.run(&recording).expect("runs").iter().zip(&expected) {
            let (made, expected) = (made.to_f32(), expected.to_f32());
            for (made, expected) in made.expect("f32").iter().zip(expected.expect("f32")) {
                assert!(
                    (made - expected).abs() <= 2e-6 * expected.abs(),
                    "{made} {expected}"
                );
            }
        }
    }
}

/// x, scales and the gradient that arrives, with some elements past the codes.
struct Learned {
    coding: Coding,
    x: Vec<f32>,
    scales: Vec<f32>,
    dy: Vec<f32>,
}

const SHAPE: [usize; 2] = [6, 16];

fn learned(scope: ScaleScope, bits: u32) -> Learned {
    let range = CodeRange::of_bits(bits).expect("a width");
    let coding = Coding { scope, range };
    let count = coding.n_scales(&SHAPE).expect("divides");
    let sizes = values(8, count);
    Learned {
        coding,
        x: values(7, 96).iter().map(|x| 2.0 * x).collect(),
        scales: sizes
            .iter()
            .map(|s| (1.5 + s) / range.max() as f32)
            .collect(),
        dy: values(9, 96),
    }
}

impl Learned {
    /// Value, gradient of x, gradient of the scales.
    fn record(&self) -> Recording {
        let mut tape = Tape::new();
        let x = tape.recording().upload(&host(&SHAPE, &self.x));
        let scales = tape
            .recording()
            .upload(&host(&[self.scales.len()], &self.scales));
        let dy = tape.recording().upload(&host(&SHAPE, &self.dy));
        let (x, scales) = (tape.parameter(&x), tape.parameter(&scales));
        let y = tape
            .fake_quantize(x, scales, None, self.coding)
            .expect("served");
        let value = tape.value(y).clone();
        let gradients = tape.backward(&[(y, &dy)]).expect("recorded");
        tape.recording().download(&value);
        for var in [x, scales] {
            let gradient = gradients.get(var).expect("used").clone();
            tape.recording().download(&gradient);
        }
        tape.into_recording()
    }
}

#[test]
fn gradients_are_the_clamp_mask_and_the_learned_step_sizes_of_their_definition() {
    let adapter = gpu(options());
    let scopes = [
        (ScaleScope::Tensor, 4),
        (ScaleScope::Channel, 8),
        (ScaleScope::Row, 2),
        (ScaleScope::Group(8), 3),
    ];
    for (scope, width) in scopes {
        let case = learned(scope, width);
        let recording = case.record();
        let run = case.x.len() / case.scales.len();
        let factor = f64::from(learned_scale_factor(run, case.coding.range));
        let mut inside = Vec::new();
        let (mut sums, mut sizes) = (vec![0.0; case.scales.len()], vec![0.0; case.scales.len()]);
        for (index, (&x, &dy)) in case.x.iter().zip(&case.dy).enumerate() {
            let made = definition(x, case.scales[index / run], 0, case.coding.range);
            inside.push(made.is_inside);
            let term = f64::from(dy) * made.scale_slope * factor;
            sums[index / run] += term;
            sizes[index / run] += term.abs();
        }
        assert!(
            inside.contains(&true) && inside.contains(&false),
            "{scope:?}"
        );
        for engine in [&CpuEngine::new() as &dyn Engine, &adapter] {
            let made = engine.run(&recording).expect("runs");
            let dx = made[1].to_f32().expect("f32");
            for ((dx, dy), &inside) in dx.iter().zip(&case.dy).zip(&inside) {
                assert_eq!(*dx, if inside { *dy } else { 0.0 });
            }
            let slopes = made[2].to_f32().expect("f32");
            for ((slope, sum), size) in slopes.iter().zip(&sums).zip(&sizes) {
                let allowed = (run as f64 + 8.0) * U * size;
                assert!((f64::from(*slope) - sum).abs() <= allowed, "{slope} {sum}");
            }
        }
        for report in compare_recording(&adapter, &recording).expect("runs") {
            assert!(report.comparison.passed(), "{report:?}");
        }
    }
}

#[test]
fn scales_are_stored_as_their_definition_says_and_gradients_go_straight_through() {
    let learned = [0.1, 3.0, -2.0, 0.0, 1e-7, 1e-41, 65_000.0];
    let signs = [1.0, -1.0, 1.0, -1.0, 1.0, 1.0, -1.0];
    let dy = values(5, learned.len());
    let adapter = gpu(options());
    for scale_type in [ScaleType::F32, ScaleType::F16] {
        let mut tape = Tape::new();
        let scales = tape.recording().upload(&host(&[7], &learned));
        let signed = tape.recording().upload(&host(&[7], &signs));
        let arriving = tape.recording().upload(&host(&[7], &dy));
        let scales = tape.parameter(&scales);
        let stored = tape
            .stored_scales(scales, &signed, scale_type)
            .expect("fits");
        let value = tape.value(stored).clone();
        let gradients = tape.backward(&[(stored, &arriving)]).expect("recorded");
        let gradient = gradients.get(scales).expect("used").clone();
        tape.recording().download(&value);
        tape.recording().download(&gradient);
        let recording = tape.into_recording();
        let pairs = || learned.iter().zip(&signs);
        let expected: Vec<u32> = pairs()
            .map(|(&one, sign)| stored_learned_scale(one, *sign < 0.0, scale_type).to_bits())
            .collect();
        let straight: Vec<f32> = dy.iter().zip(&signs).map(|(dy, sign)| dy * sign).collect();
        for engine in [&CpuEngine::new() as &dyn Engine, &adapter] {
            let made = engine.run(&recording).expect("runs");
            assert_eq!(bits(&made[0]), expected, "{scale_type:?} {}", engine.name());
            assert_eq!(made[1].to_f32().expect("f32"), straight);
        }
    }
    let mut recording = Recording::new();
    let scales = recording.upload(&host(&[3], &[1.0; 3]));
    let signs = recording.upload(&host(&[2], &[1.0; 2]));
    let refused = stored_scales(&mut recording, &scales, &signs, ScaleType::F16);
    assert!(matches!(refused, Err(OpError::Shape { .. })));
}

#[test]
fn a_learned_scale_goes_down_the_error_it_makes() {
    // 4 bits of uniform elements in [-2, 2]: plain descent on the squared error from a scale far too large.
    let mut case = learned(ScaleScope::Tensor, 4);
    case.scales = vec![1.5];
    let cpu = CpuEngine::new();
    let mut errors = Vec::new();
    for _ in 0..120 {
        let y = cpu.run(&case.record()).expect("runs")[0]
            .to_f32()
            .expect("f32");
        case.dy = y.iter().zip(&case.x).map(|(y, x)| 2.0 * (y - x)).collect();
        errors.push(case.dy.iter().map(|d| d * d).sum::<f32>());
        let slope = cpu.run(&case.record()).expect("runs")[2]
            .to_f32()
            .expect("f32")[0];
        case.scales[0] -= 0.05 * slope;
    }
    println!(
        "scale {} error {} from {}",
        case.scales[0], errors[119], errors[0]
    );
    assert!(errors[119] < 0.2 * errors[0], "{errors:?}");
    // The range of 15 codes over 4 is 0.27.
    assert!((0.2..0.4).contains(&case.scales[0]), "{}", case.scales[0]);
}

#[test]
fn what_cannot_be_fake_quantized_is_refused() {
    for scheme in [
        Scheme::int4_group_zero_point(32),
        Scheme::ggml_q8_0(),
        Scheme {
            rounding: Rounding::HalfAway,
            ..Scheme::int8_channel()
        },
    ] {
        assert!(matches!(
            Coding::of_scheme(&scheme),
            Err(OpError::Kernel(_))
        ));
    }
    let mut recording = Recording::new();
    let x = recording.upload(&host(&[2, 12], &[1.0; 24]));
    let (coding, of) = Coding::of_scheme(&Scheme::int4_group(8)).expect("served");
    let refused = quant_scales(&mut recording, &x, coding, of);
    assert!(
        refused.unwrap_err().to_string().contains("groups of 8"),
        "12 is no multiple of 8"
    );
    let scales = recording.upload(&host(&[3], &[1.0; 3]));
    let given = Scales {
        scales: &scales,
        zeros: None,
    };
    let coding = Coding {
        scope: ScaleScope::Channel,
        ..coding
    };
    let before = recording.commands().len();
    assert!(fake_quantize(&mut recording, &x, &given, coding, F32).is_err());
    assert_eq!(recording.commands().len(), before);
}

/// Two layers with relu between, weights and activations fake-quantized.
#[derive(Debug)]
struct Quantized {
    scheme: [Scheme; 2],
}

const INPUTS: usize = 64;
const HIDDEN: usize = 32;
const CLASSES: usize = 6;

impl Network for Quantized {
    fn describe(&self) -> String {
        format!("fake-quantized {} {}", self.scheme[0], self.scheme[1])
    }

    fn sample_shape(&self) -> &[usize] {
        &[INPUTS]
    }

    fn n_classes(&self) -> usize {
        CLASSES
    }

    fn tensors(&self) -> Vec<TensorSpec> {
        let spec = |name: &str, shape: &[usize]| TensorSpec {
            name: name.to_owned(),
            role: Role::Parameter,
            shape: shape.to_vec(),
            first: First::Uniform { bound: 0.15 },
        };
        vec![
            spec("0.weight", &[HIDDEN, INPUTS]),
            spec("0.bias", &[HIDDEN]),
            spec("1.weight", &[CLASSES, HIDDEN]),
            spec("1.bias", &[CLASSES]),
        ]
    }

    fn summary(&self) -> Vec<LayerSummary> {
        Vec::new()
    }

    fn record(&self, pass: &mut Pass<'_>, x: Var) -> Result<Var, OpError> {
        let mut x = x;
        for (layer, scheme) in self.scheme.iter().enumerate() {
            let (weight, bias) = (pass.parameter(2 * layer)?, pass.parameter(2 * layer + 1)?);
            let weight = pass.tape().fake_quantize_weight(weight, scheme)?;
            let coded = pass.tape().fake_quantize_by_largest(x, Coding::INT8_ROWS)?;
            x = pass.tape().linear(coded, weight, Some(bias))?;
            if layer == 0 {
                x = pass.tape().activation(x, Curve::Relu)?;
            }
        }
        Ok(x)
    }
}

/// Samples of six classes that lines tell apart.
fn data() -> Dataset {
    let mut inputs = values(5, 240 * INPUTS);
    let labels: Vec<u32> = (0..240).map(|row| row % CLASSES as u32).collect();
    for (sample, &label) in inputs.chunks_exact_mut(INPUTS).zip(&labels) {
        for shift in 0..4 {
            sample[4 * label as usize + shift] += 0.8;
        }
    }
    let names = (0..CLASSES).map(|class| class.to_string()).collect();
    Dataset::new(inputs, vec![INPUTS], labels, names).expect("valid")
}

/// One layer of the exported network in f64, with how far any computation may be from another: fake-quantized
/// floats in f32 on the one side, int8 codes made on the adapter and integer sums on the other.
struct Exported {
    weight: QuantizedMatrix,
    bias: Vec<f32>,
}

impl Exported {
    /// Results and bound for a row x that is known within `off`.
    fn row(&self, x: &[f64], off: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let largest = x
            .iter()
            .fold(f64::from(f32::MIN_POSITIVE), |most, x| most.max(x.abs()));
        let off_scale = off.iter().copied().fold(0.0, f64::max) / 127.0 + 4.0 * U * largest / 127.0;
        let scale = largest / 127.0;
        let mut coded = Vec::new();
        let mut apart = Vec::new();
        for (&x, &off) in x.iter().zip(off) {
            let steps = x / scale;
            // Where the quotient may lie on the other side of a tie, codes may differ by one.
            let near = scale - off_scale;
            let reach = off / near + steps.abs() * off_scale / near + 8.0 * U * steps.abs();
            let on_a_tie = ((steps.abs().fract() - 0.5).abs()) <= reach;
            coded.push(steps.round_ties_even() * scale);
            let step = if on_a_tie { scale + off_scale } else { 0.0 };
            apart.push(step + (steps.abs() + 1.0) * off_scale);
        }
        let (n, k) = (self.weight.n(), self.weight.k());
        let mut results = Vec::new();
        let mut bounds = Vec::new();
        for row in 0..n {
            let (mut sum, mut size, mut bound) = (f64::from(self.bias[row]), 0.0, 0.0);
            size += sum.abs();
            for column in 0..k {
                let weight = self.weight.weight(row, column);
                sum += weight * coded[column];
                size += (weight * coded[column]).abs() + weight.abs() * apart[column];
                bound += weight.abs() * apart[column];
            }
            results.push(sum);
            // f32 sums of k products and the bias on the one side, of groups on the other.
            bounds.push(bound + gamma(k + 6) * size);
        }
        (results, bounds)
    }
}

#[test]
fn an_exported_integer_network_computes_what_the_fake_quantized_one_does() {
    let int8 = Scheme::int8_channel();
    let int4 = Scheme::int4_group(32);
    let adapter = gpu(options());
    for scheme in [[int8, int8], [int4, int4], [int4, int8]] {
        let network = Quantized { scheme };
        let settings = TrainOptions {
            learning_rate: 0.01,
            batch_size: 24,
            steps_per_epoch: 10,
            evaluation_batch: 80,
            ..TrainOptions::new(Optimizer::named("adam", Convention::PyTorch).expect("a name"))
        };
        let mut trainer = Trainer::new(&adapter, &network, settings, Start::Seed).expect("fits");
        let loader = Loader::new(data().into(), LoaderOptions::learning(24, 0)).expect("valid");
        let mut losses = Vec::new();
        for epoch in 0..4 {
            for batch in loader.epoch(epoch).expect("starts") {
                losses.push(trainer.step(&batch).expect("steps"));
            }
        }
        assert!(losses[losses.len() - 1] < 0.6 * losses[0], "{losses:?}");
        let parameters = trainer.parameters().expect("downloads");
        let x = data().inputs()[..80 * INPUTS].to_vec();
        let fake = trainer.predictor().logits(&x).expect("runs");
        let layers = exported(&parameters, |layer, name, values, [n, k]| {
            quantize(name, values, n, k, &scheme[layer]).expect("finite")
        });
        check_export(&adapter, &layers, &network.describe(), &x, &fake);
        if scheme[0] == scheme[1] {
            check_wrapper(&adapter, &parameters, scheme[0], &x, &fake);
        }
    }
}

/// [`FakeQuantized`] around a plain network of the same parameters computes the same bits.
fn check_wrapper(
    adapter: &dyn Engine,
    parameters: &[NamedTensor],
    scheme: Scheme,
    x: &[f32],
    fake: &[f32],
) {
    let plain = Mlp::new(&[INPUTS], &[HIDDEN], CLASSES, Curve::Relu).expect("sizes");
    let names = plain.tensors().into_iter().map(|spec| spec.name);
    let values = parameters.iter().map(|(_, tensor)| tensor.clone());
    let named = names.zip(values).collect();
    let matrices = |spec: &TensorSpec| (spec.shape.len() == 2).then_some(scheme);
    let network = FakeQuantized::new(plain, matrices).expect("served");
    let network = network.with_inputs(Coding::INT8_ROWS);
    let settings = TrainOptions {
        evaluation_batch: 80,
        ..TrainOptions::new(Optimizer::named("sgd", Convention::PyTorch).expect("a name"))
    };
    let start = Start::Parameters(named);
    let trainer = Trainer::new(adapter, &network, settings, start).expect("fits");
    assert_eq!(trainer.predictor().logits(x).expect("runs"), fake);
}

/// The layers of trained parameters, weights made codes by `how` from their index, name, values and extents.
fn exported(
    parameters: &[NamedTensor],
    how: impl Fn(usize, &str, &[f32], [usize; 2]) -> QuantizedMatrix,
) -> Vec<Exported> {
    let value = |index: usize| parameters[index].1.to_f32().expect("f32");
    let extents = [[HIDDEN, INPUTS], [CLASSES, HIDDEN]];
    let layer = |layer: usize| Exported {
        weight: how(
            layer,
            &parameters[2 * layer].0,
            &value(2 * layer),
            extents[layer],
        ),
        bias: value(2 * layer + 1),
    };
    (0..2).map(layer).collect()
}

#[test]
fn learned_scales_are_trained_and_exported_to_an_integer_network_within_the_same_bound() {
    let adapter = gpu(options());
    let x = data().inputs()[..80 * INPUTS].to_vec();
    for (scope, bits, scale_type) in [
        (ScaleScope::Channel, 8, ScaleType::F32),
        (ScaleScope::Group(32), 4, ScaleType::F16),
        (ScaleScope::Group(16), 2, ScaleType::F16),
    ] {
        let range = CodeRange::of_bits(bits).expect("a width");
        let coding = Coding { scope, range };
        let plain = Mlp::new(&[INPUTS], &[HIDDEN], CLASSES, Curve::Relu).expect("sizes");
        let start = plain.parameters(0).expect("fit");
        // Every other group has the sign that gives its largest weight the extra code.
        let firsts = |name: &str| -> Option<Vec<f32>> {
            let (_, value) = start.iter().find(|(one, _)| one == name)?;
            let count = coding.n_scales(value.shape()).expect("divides");
            let values = value.to_f32().expect("f32");
            let groups = values.chunks(values.len() / count).enumerate();
            let first = |(at, group): (usize, &[f32])| {
                let scale = first_learned_scale(group, range);
                if at % 2 == 0 { scale } else { -scale }
            };
            Some(groups.map(first).collect())
        };
        let choose = |spec: &TensorSpec| {
            if spec.shape.len() != 2 {
                return None;
            }
            let first = firsts(&spec.name)?;
            Some((coding, SeenScales::Learned { first, scale_type }))
        };
        let network = FakeQuantized::with_codings(plain.clone(), choose).expect("served");
        let network = network.with_inputs(Coding::INT8_ROWS);
        let settings = TrainOptions {
            learning_rate: 0.01,
            batch_size: 24,
            steps_per_epoch: 10,
            evaluation_batch: 80,
            ..TrainOptions::new(Optimizer::named("adam", Convention::PyTorch).expect("a name"))
        };
        let mut trainer = Trainer::new(&adapter, &network, settings, Start::Seed).expect("fits");
        let loader = Loader::new(data().into(), LoaderOptions::learning(24, 0)).expect("valid");
        let mut losses = Vec::new();
        for epoch in 0..4 {
            for batch in loader.epoch(epoch).expect("starts") {
                losses.push(trainer.step(&batch).expect("steps"));
            }
        }
        assert!(losses[losses.len() - 1] < 0.8 * losses[0], "{losses:?}");
        let parameters = trainer.parameters().expect("downloads");
        let names: Vec<&str> = parameters.iter().map(|(name, _)| name.as_str()).collect();
        let weights = [names[0], names[2]];
        assert_eq!(
            names[4..],
            weights.map(learned_scale_name),
            "scales are behind the network's own"
        );
        let fake = trainer.predictor().logits(&x).expect("runs");
        let layers = exported(&parameters, |layer, name, values, [n, k]| {
            let learned = parameters[4 + layer].1.to_f32().expect("f32");
            let first = firsts(name).expect("there");
            let moved = learned.iter().zip(&first).filter(|(a, b)| **a != b.abs());
            assert!(moved.count() > 0, "{name} learned nothing");
            let stored = learned.iter().zip(&first).map(|(&learned, first)| {
                stored_learned_scale(learned, first.is_sign_negative(), scale_type)
            });
            let scales: Vec<f32> = stored.collect();
            let run = values.len() / scales.len();
            let code = |(at, &value): (usize, &f32)| {
                definition(value, scales[at / run], 0, range).code as i8
            };
            let codes: Vec<i8> = values.iter().enumerate().map(code).collect();
            let parts = QuantizedParts {
                bits: if bits == 8 { Bits::Int8 } else { Bits::Int4 },
                granularity: match scope {
                    ScaleScope::Group(size) => Granularity::Group(size),
                    _ => Granularity::Channel,
                },
                n,
                k,
                codes: &codes,
                scales: &scales,
                scale_type,
                zeros: None,
            };
            QuantizedMatrix::from_codes(name, &parts).expect("fits")
        });
        check_export(&adapter, &layers, &format!("{coding:?}"), &x, &fake);
    }
    let plain = Mlp::new(&[INPUTS], &[HIDDEN], CLASSES, Curve::Relu).expect("sizes");
    let refused = FakeQuantized::with_codings(plain, |spec| {
        let range = CodeRange::of_bits(4).expect("a width");
        let scope = ScaleScope::Channel;
        let (first, scale_type) = (vec![1.0; 5], ScaleType::F32);
        let scales = SeenScales::Learned { first, scale_type };
        (spec.shape.len() == 2).then_some((Coding { scope, range }, scales))
    });
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("first scales has shape [5]"), "{refused}");
}

fn check_export(
    adapter: &dyn Engine,
    layers: &[Exported],
    described: &str,
    x: &[f32],
    fake: &[f32],
) {
    // The integer network on the adapter.
    let rows = x.len() / INPUTS;
    let mut recording = Recording::new();
    let mut y = recording.upload(&host(&[rows, INPUTS], x));
    for (layer, exported) in layers.iter().enumerate() {
        let weight = Weight::upload_quantized(&mut recording, &exported.weight);
        let bias = recording.upload(&host(&[exported.bias.len()], &exported.bias));
        let options = LinearOptions {
            activations: ActivationPath::Int8PerRow,
            bias: Some(&bias),
            activation: if layer == 0 {
                Activation::Relu
            } else {
                Activation::Identity
            },
            ..LinearOptions::default()
        };
        y = linear(&mut recording, &y, &weight, &options).expect("served");
    }
    recording.download(&y);
    let integer = adapter.run(&recording).expect("runs")[0]
        .to_f32()
        .expect("f32");

    let largest = fake
        .iter()
        .fold(0f64, |most, one| most.max(f64::from(one.abs())));
    let (mut worst, mut tight) = (0.0f64, 0);
    for row in 0..rows {
        let sample: Vec<f64> = x[row * INPUTS..][..INPUTS]
            .iter()
            .map(|&x| x.into())
            .collect();
        let (hidden, off) = layers[0].row(&sample, &[0.0; INPUTS]);
        let hidden: Vec<f64> = hidden.iter().map(|h| h.max(0.0)).collect();
        let (_, bound) = layers[1].row(&hidden, &off);
        let places = row * CLASSES..(row + 1) * CLASSES;
        for ((a, b), bound) in fake[places.clone()]
            .iter()
            .zip(&integer[places])
            .zip(&bound)
        {
            // Each of the two is within the bound of the definition.
            let apart = f64::from((a - b).abs());
            worst = worst.max(apart / bound);
            assert!(apart <= 2.0 * bound, "row {row}: {a} {b} within {bound}");
            tight += usize::from(*bound < 1e-3 * largest);
        }
    }
    let share = tight as f64 / fake.len() as f64;
    println!("{described}: worst {worst:.3} of the bound, {share:.2} below a thousandth");
    assert!(
        share > 0.5,
        "ties leave few bounds that say something: {share}"
    );
    let classes = |logits: &[f32]| lapidary::eval::predictions(logits, CLASSES).expect("rows");
    let (fake, integer) = (classes(fake), classes(&integer));
    let agree = fake.iter().zip(&integer).filter(|(a, b)| a == b);
    assert!(agree.count() * 100 >= rows * 98);
}

#[test]
fn any_network_is_trained_with_the_weights_that_its_schemes_store() {
    let adapter = gpu(options());
    let plain = Mlp::new(&[INPUTS], &[HIDDEN], CLASSES, Curve::Relu).expect("sizes");
    let scheme = Scheme::int4_group(32);
    let network = FakeQuantized::new(plain.clone(), |spec| {
        (spec.shape.len() == 2).then_some(scheme)
    });
    let network = network.expect("served");
    let settings = || TrainOptions {
        learning_rate: 0.01,
        batch_size: 24,
        steps_per_epoch: 10,
        evaluation_batch: 80,
        ..TrainOptions::new(Optimizer::named("adam", Convention::PyTorch).expect("a name"))
    };
    let mut trainer = Trainer::new(&adapter, &network, settings(), Start::Seed).expect("fits");
    let loader = Loader::new(data().into(), LoaderOptions::learning(24, 0)).expect("valid");
    let mut losses = Vec::new();
    for epoch in 0..2 {
        for batch in loader.epoch(epoch).expect("starts") {
            losses.push(trainer.step(&batch).expect("steps"));
        }
    }
    assert!(losses[losses.len() - 1] < losses[0], "{losses:?}");
    let x = data().inputs()[..80 * INPUTS].to_vec();
    let seen = trainer.predictor().logits(&x).expect("runs");

    // The plain network with dequantized weights computes the same bits.
    let mut stored = trainer.parameters().expect("downloads");
    let mut changed = 0;
    for (name, tensor) in &mut stored {
        if let &[n, k] = tensor.shape() {
            let w = tensor.to_f32().expect("f32");
            let values = quantize(name, &w, n, k, &scheme)
                .expect("finite")
                .dequantize();
            changed += usize::from(values != w);
            *tensor = host(&[n, k], &values);
        }
    }
    assert_eq!(changed, 2);
    let start = Start::Parameters(stored);
    let trainer = Trainer::new(&adapter, &plain, settings(), start).expect("fits");
    assert_eq!(trainer.predictor().logits(&x).expect("runs"), seen);

    let refused = FakeQuantized::new(plain, |_| Some(Scheme::int4_group(24)));
    assert!(matches!(refused, Err(OpError::Shape { .. })));
}

#[test]
fn sixteen_bit_tapes_store_the_values_rounded_and_pass_gradients_in_full() {
    let mut tape = Tape::new().with_storage(FloatType::F16);
    let scheme = Scheme::int8_channel();
    let w = values(3, 96);
    let weight = tape.recording().upload(&host(&SHAPE, &w));
    let dy = values(9, 96);
    let arriving = tape.recording().upload(&host(&SHAPE, &dy));
    let weight = tape.parameter(&weight);
    let y = tape.fake_quantize_weight(weight, &scheme).expect("served");
    let value = tape.value(y).clone();
    let gradients = tape.backward(&[(y, &arriving)]).expect("recorded");
    let gradient = gradients.get(weight).expect("used").clone();
    tape.recording().download(&value);
    tape.recording().download(&gradient);
    let made = gpu(options()).run(&tape.into_recording()).expect("runs");
    let matrix = quantize("w", &w, 6, 16, &scheme).expect("finite");
    let halves = FloatType::F16.pack(&matrix.dequantize());
    let expected = FloatType::F16.unpack(&halves, 96);
    assert_eq!(made[0].to_f32().expect("widens"), expected);
    // No element of a restricted range is clamped.
    assert_eq!(made[1].to_f32().expect("f32"), dy);
}
