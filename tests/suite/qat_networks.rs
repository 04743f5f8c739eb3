//! Quantization-aware training of whole networks, and the integer networks that it exports.

use lapidary::autograd::Var;
use lapidary::data::{Dataset, Loader, LoaderOptions};
use lapidary::engine::Engine;
use lapidary::kernels::{Activation, U, gamma};
use lapidary::models::{
    FakeQuantized, First, LayerSummary, Mlp, NamedTensor, Network, Pass, Role, SeenScales,
    TensorSpec, learned_scale_name,
};
use lapidary::num::optim::{Convention, Optimizer};
use lapidary::num::quant::fake::{
    fake_quantize as definition, first_learned_scale, stored_learned_scale,
};
use lapidary::num::{
    Bits, CodeRange, Granularity, QuantizedMatrix, QuantizedParts, ScaleType, Scheme, quantize,
};
use lapidary::ops::nn::{Coding, Curve, ScaleScope};
use lapidary::ops::{ActivationPath, LinearOptions, OpError, Weight, linear};
use lapidary::record::Recording;
use lapidary::train::{Start, TrainOptions, Trainer};

use crate::qat::host;
use crate::support::{gpu, options, values};

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
