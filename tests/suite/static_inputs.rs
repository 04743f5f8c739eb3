//! Scales of activations that calibration finds beforehand: stored, run, and what they lose.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;

use lapidary::compress::deploy::{Deployed, MeasureOptions, measure};
use lapidary::compress::model::{CONFIG_FILE, MODEL_FILE, Model, Stored};
use lapidary::compress::quantize::{Misfit, RangeChoice};
use lapidary::compress::stage::qat::{QatOptions, QatScales, qat};
use lapidary::compress::stage::quantize::{
    ActivationScheme, Method, QuantizeLog, QuantizeOptions, quantize,
};
use lapidary::compress::stage::{Context, Progress, StageError};
use lapidary::data::{Standardization, StandardizeBy, TrainTest, fashion_mnist_subset};
use lapidary::engine::{CpuEngine, Engine};
use lapidary::eval;
use lapidary::io::safetensors::{SafetensorsFile, write_safetensors};
use lapidary::kernels::gamma;
use lapidary::models::{Layer, Sequential, cnn, load_parameters};
use lapidary::num::StaticScale;
use lapidary::num::optim::{Convention, Optimizer};
use lapidary::ops::Routes;
use lapidary::ops::nn::Curve;
use lapidary::tensor::HostTensor;

use crate::support::{gpu, options};

/// A network that PyTorch trained; its inputs are bytes as the share of 255.
fn of_file(network: Sequential, file: &str) -> Model {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(file);
    let values = load_parameters(&network, file).expect("reference");
    let inputs = Standardization::from_parts(StandardizeBy::Whole, vec![0.0], vec![1.0], 784);
    Model::new(network, inputs.expect("valid"), values).expect("fits")
}

fn mlp() -> Model {
    let mut layers = vec![Layer::Flatten];
    for outputs in [256, 128] {
        layers.extend([Layer::linear(outputs), Layer::Activation(Curve::Relu)]);
    }
    layers.push(Layer::linear(10));
    let network = Sequential::new("mlp 784-256-128-10", &[1, 28, 28], layers).expect("fits");
    of_file(network, "fmnist_mlp_f32.safetensors")
}

fn asked(scheme: &str, range: RangeChoice) -> QuantizeOptions {
    let mut asked = QuantizeOptions {
        method: Method::Nearest,
        misfit: Misfit::SmallerGroup,
        samples: 64,
        ..QuantizeOptions::new(scheme.parse().expect("a scheme"))
    };
    asked.scheme.activations = ActivationScheme::Static(range);
    asked
}

fn context<'a>(engine: &'a dyn Engine, data: &'a TrainTest) -> Context<'a> {
    Context {
        engine,
        train: &data.train,
        test: &data.test,
        seed: 1,
        watch: &|_| true,
        kept: None,
    }
}

fn made(
    (engine, data): (&dyn Engine, &TrainTest),
    model: &Model,
    asked: &QuantizeOptions,
) -> Result<(Model, QuantizeLog), StageError> {
    quantize(&context(engine, data), model, asked)
}

fn logits(engine: &dyn Engine, model: &Model, data: &TrainTest) -> Vec<f32> {
    let deployed = Deployed::new(engine, model, &Routes::default()).expect("fits");
    deployed.logits(data.test.inputs()).expect("runs")
}

fn accuracy(engine: &dyn Engine, model: &Model, data: &TrainTest) -> f64 {
    eval::accuracy(&logits(engine, model, data), data.test.labels(), 10).expect("finite")
}

fn scale(model: &Model, name: &str) -> StaticScale {
    let stored = model.tensor(name).expect("there");
    stored.input_scale().expect("static")
}

#[test]
fn a_network_loses_as_little_as_with_scales_of_rows_and_runs_as_it_is_defined() {
    let data = fashion_mnist_subset().expect("built in");
    let engine = gpu(options());
    let base = mlp();
    let before = accuracy(&engine, &base, &data);
    for (scheme, range, most_lost) in [
        ("int8", RangeChoice::MinMax, 0.003),
        ("int8", RangeChoice::MSE, 0.003),
        ("int8", RangeChoice::Kl, 0.003),
        ("int8", RangeChoice::Percentile(0.999), 0.003),
        ("int8-g16", RangeChoice::MinMax, 0.003),
        // Codes with offsets and zero points need sums of the activations' codes.
        ("int4-g16", RangeChoice::MinMax, 0.012),
        ("int4-g16-zp", RangeChoice::MinMax, 0.012),
    ] {
        let asked = asked(scheme, range);
        let (model, log) = made((&engine, &data), &base, &asked).expect("fits");
        let lost = before - accuracy(&engine, &model, &data);
        println!("{}: loses {lost:.4}", log.scheme);
        assert!(lost <= most_lost, "{}: {lost}", log.scheme);
        for layer in &log.layers {
            assert!(layer.format.ends_with(" x int8-static"), "{layer:?}");
            let notes = layer.notes.join("; ");
            assert!(notes.contains("in int8, scale"), "{notes}");
        }
        let deployed = Deployed::new(&engine, &model, &Routes::default()).expect("fits");
        let few = &data.test.inputs()[..9 * 784];
        let verified = deployed.verify(few, 0).expect("runs");
        assert!(verified.passed(), "{scheme}: {verified:?}");
        // Symmetric int8 is handed codes; others quantize what they are given.
        let launches = if scheme.starts_with("int8") { 4 } else { 6 };
        assert_eq!(verified.operations, launches, "{scheme}: {verified:?}");
    }
}

#[test]
fn scales_are_those_of_the_inputs_in_the_network_as_it_is_stored() {
    let data = fashion_mnist_subset().expect("built in");
    let engine = CpuEngine::fast();
    let base = mlp();
    let asked = asked("int8", RangeChoice::MinMax);
    let (model, _) = made((&engine, &data), &base, &asked).expect("fits");
    // Images reach from 0 to 1.
    let of_images = StaticScale::new("x", 1.0 / 127.0).expect("in range");
    assert_eq!(scale(&model, "1.weight"), of_images);
    // SmoothQuant moves factors into the layers before, which changes what later ones are given.
    let smooth = QuantizeOptions {
        method: Method::SmoothQuant,
        ..asked
    };
    let (smoothed, log) = made((&engine, &data), &base, &smooth).expect("fits");
    let notes = log.layers[1].notes.join("; ");
    assert!(notes.contains("moved into layer"), "{notes}");
    assert_ne!(scale(&smoothed, "3.weight"), scale(&model, "3.weight"));
    // The definition: the largest input of the second layer over the samples, of the values that are stored.
    let order = lapidary::data::permutation(data.train.n_samples(), 1, 0);
    let values = smoothed.values();
    let part = |at: usize| values[at].1.to_f32().expect("f32");
    let (weight, bias) = (part(0), part(1));
    let (mut largest, mut bound) = (0f64, 0f64);
    for &sample in &order[..64] {
        let image = data.train.sample(sample as usize);
        for (row, &bias) in weight.chunks_exact(784).zip(&bias) {
            let terms = row
                .iter()
                .zip(image)
                .map(|(&w, &x)| f64::from(w) * f64::from(x));
            let (sum, sizes) = terms.fold((0.0, 0.0), |(sum, sizes), term| {
                (sum + term, sizes + term.abs())
            });
            let bias = f64::from(bias);
            largest = largest.max(sum + bias);
            // Sums of 785 products in f32, and the rounding of the scale.
            bound = bound.max(gamma(787) * (sizes + bias.abs()));
        }
    }
    let found = f64::from(scale(&smoothed, "3.weight").get()) * 127.0;
    println!("{found} for {largest}, within {bound:e}");
    assert!(
        (found - largest).abs() <= bound,
        "{found} {largest} {bound}"
    );
    // The same samples give the same bits again.
    let again = made((&engine, &data), &base, &smooth).expect("fits");
    assert_eq!(again.0, smoothed);
}

#[test]
fn convolutions_have_one_scale_for_all_windows() {
    let data = fashion_mnist_subset().expect("built in");
    let engine = gpu(options());
    let network = cnn(&[1, 28, 28], 10).expect("fits");
    let base = of_file(network, "fmnist_cnn_f32.safetensors");
    let asked = QuantizeOptions {
        samples: 16,
        ..asked("int8", RangeChoice::MinMax)
    };
    let (model, _) = made((&engine, &data), &base, &asked).expect("fits");
    for name in ["0.weight", "3.weight", "7.weight", "9.weight"] {
        let stored = model.tensor(name).expect("there");
        assert_eq!(stored.format(), "int8-channel x int8-static", "{name}");
    }
    let lost = accuracy(&engine, &base, &data) - accuracy(&engine, &model, &data);
    println!("static w8a8 loses {lost:.4}");
    assert!(lost <= 0.005, "{lost}");
    let deployed = Deployed::new(&engine, &model, &Routes::default()).expect("fits");
    let few = &data.test.inputs()[..2 * 784];
    let verified = deployed.verify(few, 0).expect("runs");
    assert!(verified.passed(), "{verified:?}");
}

#[test]
fn scales_are_in_the_file_and_what_they_contradict_is_named() {
    let data = fashion_mnist_subset().expect("built in");
    let engine = CpuEngine::fast();
    let asked = asked("int8", RangeChoice::MinMax);
    let (model, _) = made((&engine, &data), &mlp(), &asked).expect("fits");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("m");
    model.save(&path, &BTreeMap::new()).expect("written");
    assert_eq!(Model::load(&path).expect("reads"), model);
    let config = std::fs::read_to_string(path.join(CONFIG_FILE)).expect("reads");
    let parsed: serde_json::Value = serde_json::from_str(&config).expect("JSON");
    let group = &parsed["quantization_config"]["config_groups"]["group_0"];
    let inputs = serde_json::json!({
        "num_bits": 8,
        "type": "int",
        "symmetric": true,
        "strategy": "tensor",
        "group_size": null,
        "dynamic": false,
    });
    assert_eq!(group["input_activations"], inputs);
    let file = path.join(MODEL_FILE);
    let read = SafetensorsFile::open(&file).expect("reads");
    let tensors: Vec<(String, HostTensor)> = read
        .tensors()
        .iter()
        .map(|one| (one.name.clone(), read.tensor(&one.name).expect("there")))
        .collect();
    drop(read);
    let stored = tensors.iter().find(|(name, _)| name == "3.input_scale");
    let stored = stored.expect("there").1.to_f32().expect("f32");
    assert_eq!(stored, [scale(&model, "3.weight").get()]);
    let with = |scale: Option<HostTensor>| {
        let mut tensors = tensors.clone();
        tensors.retain(|(name, _)| name != "3.input_scale");
        tensors.extend(scale.map(|scale| ("3.input_scale".to_owned(), scale)));
        write_safetensors(&file, &tensors, &BTreeMap::new()).expect("written");
        Model::load(&path).expect_err("refused").to_string()
    };
    let of = |values: &[f32]| HostTensor::from_f32(vec![values.len()], values).expect("fits");
    let integer = HostTensor::from_i32(vec![1], &[1]).expect("fits");
    for (tensor, message) in [
        (None, "3.input_scale"),
        (
            Some(of(&[0.0])),
            "3.input_scale: a scale of 0 for activations; allowed: 2^-100 to 2^100",
        ),
        (Some(of(&[f32::NAN])), "3.input_scale: a scale of NaN"),
        (Some(of(&[-1.0])), "3.input_scale: a scale of -1"),
        (
            Some(of(&[1.0, 1.0])),
            "tensor 3.input_scale is f32 [2]; expected f32 [1]",
        ),
        (Some(integer), "tensor 3.input_scale is i32 [1]"),
    ] {
        let text = with(tensor);
        assert!(text.contains(message), "{text}");
    }
    // Scales that no layer asks for.
    write_safetensors(&file, &tensors, &BTreeMap::new()).expect("written");
    let mut dynamic = parsed;
    let token = serde_json::json!({
        "num_bits": 8,
        "type": "int",
        "symmetric": true,
        "strategy": "token",
        "group_size": null,
        "dynamic": true,
    });
    for layer in ["1", "3", "5"] {
        dynamic["weights"][layer]["input_activations"] = token.clone();
    }
    std::fs::write(path.join(CONFIG_FILE), dynamic.to_string()).expect("written");
    let text = Model::load(&path).expect_err("refused").to_string();
    assert!(text.contains("1.input_scale"), "{text}");
    assert!(text.contains("are in no layer"), "{text}");
}

#[test]
fn dead_inputs_few_samples_and_training_are_told() {
    let data = fashion_mnist_subset().expect("built in");
    let engine = CpuEngine::fast();
    // No image gets past the first layer.
    let mut dead = mlp();
    let bias = HostTensor::from_f32(vec![256], &[-1e6; 256]).expect("fits");
    dead.set("1.bias", Stored::Float(bias)).expect("fits");
    for range in [RangeChoice::MinMax, RangeChoice::Kl] {
        let asked = QuantizeOptions {
            samples: 256,
            ..asked("int8", range)
        };
        let (model, log) = made((&engine, &data), &dead, &asked).expect("fits");
        assert_eq!(scale(&model, "3.weight"), StaticScale::OF_ZEROS);
        let notes = log.layers[1].notes.join("; ");
        let expected = "zero in every sample: their scale is 1.1920929e-7";
        assert!(notes.contains(expected), "{notes}");
        let logits = logits(&engine, &model, &data);
        assert!(logits.iter().all(|logit| logit.is_finite()));
    }
    let few = QuantizeOptions {
        samples: 1,
        ..asked("int8", RangeChoice::Kl)
    };
    // It is told before any weight is worked on.
    let stages = RefCell::new(Vec::new());
    let watch = |progress: &Progress| {
        stages.borrow_mut().push(progress.stage);
        true
    };
    let watched = Context {
        watch: &watch,
        ..context(&engine, &data)
    };
    let error = quantize(&watched, &mlp(), &few).expect_err("too few");
    let error = error.to_string();
    assert!(stages.borrow().contains(&"calibrate"));
    assert!(!stages.borrow().contains(&"quantize"));
    assert!(
        error.contains("weight: a range by divergence from "),
        "{error}"
    );
    let end = "at least 2048 are needed: calibrate with more samples";
    assert!(error.ends_with(end), "{error}");
    let training = QatOptions {
        quantize: asked("int8", RangeChoice::MinMax),
        scales: QatScales::Learned,
        epochs: 1,
        optimizer: Optimizer::named("adam", Convention::PyTorch).expect("known"),
        learning_rate: 1e-3,
        batch_size: 32,
    };
    let refused = qat(&context(&engine, &data), &mlp(), &training).expect_err("static");
    assert_eq!(
        refused.to_string(),
        "activations of quantization-aware training = int8-static; allowed: float, int8, int8-g32, int8-g64"
    );
}

#[test]
fn one_launch_quantizes_and_one_a_layer_multiplies() {
    let data = fashion_mnist_subset().expect("built in");
    let engine = gpu(options());
    let asked = asked("int8", RangeChoice::MinMax);
    let (model, _) = made((&engine, &data), &mlp(), &asked).expect("fits");
    let folder = tempfile::tempdir().expect("a folder");
    model
        .save(folder.path(), &BTreeMap::new())
        .expect("written");
    let times = MeasureOptions {
        warm_up: 1,
        single: 2,
        batches: 2,
    };
    let open = || Ok(Box::new(gpu(options())) as Box<dyn Engine>);
    let inputs = (data.test.inputs(), &Routes::default());
    let measured = measure(folder.path(), &open, inputs, times).expect("runs");
    let launches: Vec<(&str, usize)> = measured
        .kernels
        .iter()
        .map(|one| (one.kernel.as_str(), one.launches))
        .collect();
    // A device without a clock says nothing.
    if !launches.is_empty() {
        let of = |name: &str| {
            let found = launches.iter().find(|one| one.0 == name);
            found.map_or(0, |one| one.1)
        };
        let found = (of("quantize_rows"), of("matmul_int8"), launches.len());
        assert_eq!(found, (1, 3, 2), "{launches:?}");
    }
}
