//! Compression of a network trained by PyTorch, with images as calibration: what the error-minimizing methods
//! gain over rounding to nearest and over magnitude, layer by layer.

use std::path::Path;

use lapidary::compress::prune::{SparseGpt, Sparsity, sparse_gpt, wanda};
use lapidary::compress::quantize::{
    Awq, Gptq, Hqq, Linear, Order, RangeChoice, Route, Width, awq, corrected_bias, gptq, hqq,
    hqq_judged, round_to_nearest,
};
use lapidary::compress::{Calibration, Hessian, Weights};
use lapidary::data::fashion_mnist_subset;
use lapidary::io::safetensors::SafetensorsFile;
use lapidary::num::Granularity;
use lapidary::num::mask::{Amount, Pattern, Scores, magnitude, select};

/// Images that calibrate.
const N_IMAGES: usize = 384;

/// A layer of the network with its inputs.
struct Layer {
    name: &'static str,
    n: usize,
    k: usize,
    values: Vec<f32>,
    bias: Vec<f32>,
    /// `[N_IMAGES, k]`
    x: Vec<f32>,
    inputs: Calibration,
    hessian: Hessian,
}

impl Layer {
    fn weights(&self) -> Weights<'_> {
        Weights::new(self.name, self.n, self.k, &self.values).expect("trained weights")
    }

    /// `tr(D H D^T)` of other weights.
    fn loss(&self, values: &[f32]) -> f64 {
        let change = |(&new, &old): (&f32, &f32)| f64::from(new) - f64::from(old);
        let changes: Vec<f64> = values.iter().zip(&self.values).map(change).collect();
        self.hessian.loss(self.name, &changes).expect("whole rows")
    }
}

/// Outputs `[m, n]` of a layer, before its activation.
fn outputs(x: &[f32], values: &[f32], bias: &[f32], k: usize) -> Vec<f32> {
    x.chunks_exact(k)
        .flat_map(|x| {
            values.chunks_exact(k).zip(bias).map(move |(row, &bias)| {
                let sum: f64 = row
                    .iter()
                    .zip(x)
                    .map(|(&w, &x)| f64::from(w) * f64::from(x))
                    .sum();
                (sum + f64::from(bias)) as f32
            })
        })
        .collect()
}

/// The three layers 784-256-128-10 and what the first training images are to them.
fn layers() -> Vec<Layer> {
    let images = fashion_mnist_subset().expect("built in").train;
    let images = images.first(N_IMAGES).expect("10,000 images");
    layers_of(images.inputs().to_vec())
}

/// The same with test images.
fn held_out() -> Vec<Layer> {
    let images = fashion_mnist_subset().expect("built in").test;
    let images = images.first(N_IMAGES).expect("2,000 images");
    layers_of(images.inputs().to_vec())
}

fn layers_of(mut x: Vec<f32>) -> Vec<Layer> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/fmnist_mlp_f32.safetensors");
    let file = SafetensorsFile::open(file).expect("part of the repository");
    let tensor = |name: &str| file.tensor(name).expect("there").to_f32().expect("f32");
    let mut layers = Vec::new();
    for (name, bias, n, k) in [
        ("1.weight", "1.bias", 256, 784),
        ("3.weight", "3.bias", 128, 256),
        ("5.weight", "5.bias", 10, 128),
    ] {
        let (values, bias) = (tensor(name), tensor(bias));
        let (mut inputs, mut hessian) = (Calibration::new(k), Hessian::new(k));
        inputs.add(name, &x).expect("images");
        hessian.add(name, &x).expect("images");
        let next: Vec<f32> = outputs(&x, &values, &bias, k)
            .iter()
            .map(|y| y.max(0.0))
            .collect();
        layers.push(Layer {
            name,
            n,
            k,
            values,
            bias,
            x: std::mem::replace(&mut x, next),
            inputs,
            hessian,
        });
    }
    layers
}

const WIDTHS: [Width; 3] = [Width::Int4, Width::Int3, Width::Int2];

#[test]
fn gptq_and_awq_lose_less_than_rounding_to_nearest_on_every_layer() {
    for (layer, held_out) in layers().iter().zip(&held_out()) {
        for width in WIDTHS {
            let linear = Linear::asymmetric(width, Granularity::Group(16));
            let weights = layer.weights();
            let solved = gptq(&weights, &layer.hessian, &linear, &Gptq::default()).expect("fits");
            assert!(
                matches!(solved.route, Route::Solved { .. }),
                "{:?}",
                solved.route
            );
            let nearest = solved.nearest_loss;
            assert!(solved.loss < nearest, "{} {linear}", layer.name);
            let own = layer.loss(&solved.matrix.dequantize());
            assert!(
                (own / solved.loss - 1.0).abs() < 1e-9,
                "{own} {}",
                solved.loss
            );
            let options = Awq {
                grid: 4,
                ..Awq::default()
            };
            let scaled = awq(&weights, &layer.inputs, &layer.hessian, &linear, &options);
            let scaled = scaled.expect("fits");
            assert!(scaled.loss < nearest, "{} {linear}", layer.name);
            // On images that it has not seen the gain is smaller, and there.
            let unseen_nearest = round_to_nearest(&weights, &linear).expect("fits");
            let unseen_nearest = held_out.loss(&unseen_nearest.dequantize());
            let unseen = held_out.loss(&solved.matrix.dequantize());
            println!(
                "{} {linear}: to nearest {nearest:.4}, gptq {:.4}, awq {:.4}; unseen {unseen_nearest:.4}, \
                 gptq {unseen:.4}",
                layer.name, solved.loss, scaled.loss
            );
            assert!(unseen < unseen_nearest, "{} {linear}", layer.name);
        }
    }
}

/// HQQ does not see the inputs, so by itself it loses on the last layer, of ten rows, at int2 in groups of 16. Judged
/// by the inputs each row is the better of the two, and every layer gains under every scheme.
#[test]
fn hqq_and_gptq_lose_less_than_rounding_to_nearest_on_every_layer_under_every_scheme() {
    let mut judged = 0;
    for (layer, held_out) in layers().iter().zip(&held_out()) {
        let weights = layer.weights();
        for width in WIDTHS {
            for granularity in [Granularity::Group(16), Granularity::Channel] {
                let linear = Linear::asymmetric(width, granularity);
                let nearest = round_to_nearest(&weights, &linear)
                    .expect("fits")
                    .dequantize();
                let options = Hqq::default();
                let blind = hqq(&weights, width, granularity, &options).expect("fits");
                let how = (width, granularity);
                let own = hqq_judged(&weights, &layer.hessian, how, &options).expect("fits");
                let solved = gptq(&weights, &layer.hessian, &linear, &Gptq::default());
                let solved = solved.expect("fits");
                let own = own.dequantize();
                let losses = [&nearest, &blind.dequantize(), &own].map(|values| layer.loss(values));
                let [to_nearest, blind, loss] = losses;
                println!(
                    "{} {linear}: to nearest {to_nearest:.4}, hqq {blind:.4}, judged {loss:.4}, gptq {:.4}; unseen \
                     {:.4}, judged {:.4}",
                    layer.name,
                    solved.loss,
                    held_out.loss(&nearest),
                    held_out.loss(&own)
                );
                assert!(loss < to_nearest, "{} {linear}", layer.name);
                assert!(loss <= blind, "{} {linear}", layer.name);
                assert!(solved.loss < to_nearest, "{} {linear}", layer.name);
                judged += 1;
            }
        }
    }
    assert_eq!(judged, 18);
}

#[test]
fn every_order_of_gptq_helps_and_channels_too() {
    let layers = layers();
    let layer = &layers[1];
    for granularity in [Granularity::Group(32), Granularity::Channel] {
        for order in [Order::Natural, Order::NaturalStatic, Order::Activation] {
            let linear = Linear {
                range: RangeChoice::MSE,
                ..Linear::symmetric(Width::Int3, granularity)
            };
            let options = Gptq {
                order,
                ..Gptq::default()
            };
            let found = gptq(&layer.weights(), &layer.hessian, &linear, &options).expect("fits");
            println!(
                "{linear} {order:?}: {:.4} of {:.4}",
                found.loss, found.nearest_loss
            );
            assert!(found.loss < found.nearest_loss, "{linear} {order:?}");
        }
    }
}

#[test]
fn a_corrected_bias_lowers_the_error_of_the_outputs() {
    for layer in layers() {
        let linear = Linear::symmetric(Width::Int2, Granularity::Channel);
        let matrix = round_to_nearest(&layer.weights(), &linear).expect("fits");
        let values = matrix.dequantize();
        let bias = corrected_bias(&layer.weights(), &values, &layer.inputs, Some(&layer.bias));
        let expected = outputs(&layer.x, &layer.values, &layer.bias, layer.k);
        let error = |bias: &[f32]| -> f64 {
            let found = outputs(&layer.x, &values, bias, layer.k);
            let square = |(a, b): (&f32, &f32)| f64::from(a - b).powi(2);
            found.iter().zip(&expected).map(square).sum()
        };
        let (before, after) = (error(&layer.bias), error(&bias.expect("calibrated")));
        println!(
            "{}: squared error {before:.1}, corrected {after:.1}",
            layer.name
        );
        assert!(after < before, "{}: {after} {before}", layer.name);
    }
}

#[test]
fn wanda_and_sparsegpt_lose_less_than_magnitude_on_every_layer() {
    for (layer, held_out) in layers().iter().zip(&held_out()) {
        let weights = layer.weights();
        for (sparsity, pattern) in [
            (Sparsity::Share(0.5), Pattern::PerRow(Amount::Sparsity(0.5))),
            (
                Sparsity::NOfM { keep: 2, group: 4 },
                Pattern::NOfM {
                    keep: 2,
                    group: 4,
                    vector: 1,
                },
            ),
        ] {
            let masked = |scores: &[f32]| {
                let scores = Scores::new(layer.name, layer.n, layer.k, scores).expect("scores");
                let mask = select(&scores, &pattern).expect("fits");
                layer.loss(
                    &mask
                        .apply(layer.name, weights.values())
                        .expect("its weights"),
                )
            };
            let by_magnitude = masked(&magnitude(weights.values()));
            let by_inputs = masked(&wanda(&weights, &layer.inputs).expect("calibrated"));
            let options = SparseGpt::default();
            let solved = sparse_gpt(&weights, &layer.hessian, sparsity, &options).expect("fits");
            println!(
                "{} {sparsity:?}: magnitude {by_magnitude:.4}, wanda {by_inputs:.4}, sparsegpt {:.4}",
                layer.name, solved.loss
            );
            assert!(by_inputs < by_magnitude, "{} {sparsity:?}", layer.name);
            let magnitudes = magnitude(weights.values());
            let scores = Scores::new(layer.name, layer.n, layer.k, &magnitudes).expect("scores");
            let mask = select(&scores, &pattern).expect("fits");
            let pruned = mask
                .apply(layer.name, weights.values())
                .expect("its weights");
            let (unseen, unseen_magnitude) =
                (held_out.loss(&solved.weights), held_out.loss(&pruned));
            println!("unseen: magnitude {unseen_magnitude:.4}, sparsegpt {unseen:.4}");
            assert!(unseen < unseen_magnitude, "{} {sparsity:?}", layer.name);
            assert!(solved.loss < by_inputs, "{} {sparsity:?}", layer.name);
            assert_eq!(layer.loss(&solved.weights), solved.loss);
        }
    }
}
