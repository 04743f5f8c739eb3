//! `lapidary quantize MODEL OUT`: weights in fewer bits.

use std::path::PathBuf;

use clap::{ArgGroup, Args, ValueEnum};
use lapidary::compress::model::{Model, Stored};
use lapidary::compress::quantize::{Action, Gptq, Misfit, Order, Planned, Width};
use lapidary::compress::stage::Context;
use lapidary::compress::stage::qat::{QatLog, QatOptions, QatScales, qat};
use lapidary::compress::stage::quantize::{
    ActivationScheme, Method, QuantizeLog, QuantizeOptions, QuantizeScheme, plan_quantize, quantize,
};
use lapidary::compress::transformer::decoder::{Change, mixed_codes};
use lapidary::num::optim::{Convention, Optimizer};
use serde::Serialize;

use crate::config::Settings;
use crate::generate::{self, CalibrationOptions, Compressing, is_language_model};
use crate::made::Making;
use crate::options::{CommonOptions, DeviceOption, Failure};
use crate::output::{bytes, number, print, print_json, table};
use crate::train::{self, usage};
use crate::trained::ModelOptions;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum MisfitName {
    /// It is an error.
    Error,
    /// The largest group that fits.
    SmallerGroup,
    /// int8, a scale for each channel.
    Int8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OrderName {
    /// Inputs of large mean squares first; scales of groups found before.
    Activation,
    /// From left to right; scales of groups found before.
    Static,
    /// From left to right; scales of groups found on the way.
    Natural,
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("codes").args(["scheme", "bits"]).required(true)))]
#[command(after_help = "Examples:\n  \
    lapidary quantize mlp.safetensors mlp-int8 --scheme int8\n  \
    lapidary quantize mlp.safetensors mlp-w8a8 --scheme w8a8 --method smoothquant\n  \
    lapidary quantize mlp.safetensors mlp-w8a8 --scheme w8a8 --activations int8-static --calib 1024\n  \
    lapidary quantize mlp.safetensors mlp-int4 --scheme int4-g32 --on-misfit smaller-group --keep '5.*'\n  \
    lapidary quantize mlp.safetensors mlp-int4 --scheme w4a16-g64 --on-misfit int8 --plan\n  \
    lapidary quantize mlp.safetensors mlp-int2 --scheme int2-g16 --qat-epochs 2\n  \
    lapidary quantize model.gguf model-int4 --scheme int4-g32 --calibration text.txt --samples 64\n  \
    lapidary quantize model.gguf model-mixed --bits 4.5 --calibration text.txt --samples 64\n  \
    lapidary quantize model-folder model-int8 --scheme int8-channel --keep '*.down_proj.weight'")]
pub struct QuantizeCommand {
    /// A folder of a model, a file of `train --out`, a language model (a GGUF file or a folder of Hugging Face's), or a
    /// folder of an encoder.
    #[arg(value_name = "MODEL")]
    input: PathBuf,
    /// Folder to write; of a GGUF file also a name that ends in .gguf.
    #[arg(value_name = "OUT")]
    out: PathBuf,
    /// int8, int6, int4, int3, int2, nf4, log8 or log4, or wBaB with the bits of weights and activations; then -tensor,
    /// -channel or -gN, -zp for zero points or -narrow, -mse, -kl or -p0.999 (a share) for ranges without outliers, -f16 or -f32 for
    /// scales.
    #[arg(long, value_name = "SCHEME", value_parser = scheme)]
    scheme: Option<QuantizeScheme>,
    /// Language models, instead of --scheme: mean bits of a weight, scales included. Each weight gets 3, 4, 6 or 8 bits in
    /// groups of 32, by how far the predictions on --calibration diverge when it alone is rounded.
    #[arg(long, value_name = "BITS", value_parser = mean_bits)]
    bits: Option<f64>,
    /// How codes are found: nearest, gptq, awq, hqq or smoothquant; gptq by default, nearest for nf4, log8 and log4 and
    /// for language models and encoders without --calibration.
    #[arg(long, value_name = "NAME", value_parser = method)]
    method: Option<Method>,
    /// With gptq: the order in which columns are rounded.
    #[arg(long, value_enum, default_value = "activation")]
    order: OrderName,
    /// With gptq: added to the diagonal of the Hessian, as a share of its mean.
    #[arg(long, default_value_t = 0.01, value_name = "SHARE", value_parser = damping)]
    damping: f64,
    /// Samples of the training set, or windows or lines of --calibration, that calibrate.
    #[arg(
        long,
        visible_alias = "samples",
        default_value_t = 256,
        value_name = "N"
    )]
    calib: usize,
    #[command(flatten)]
    calibration: CalibrationOptions,
    /// Names of weights that stay as they are, with * for any characters; may be given several times.
    #[arg(long, value_name = "PATTERN")]
    keep: Vec<String>,
    /// What becomes of a weight that the scheme does not fit.
    #[arg(long, value_enum, default_value = "error")]
    on_misfit: MisfitName,
    /// How activations meet the weights: float; int8, int8-g32 or int8-g64 with a scale for each row, 32 or 64 inputs, as
    /// they come; int8-static with one scale a layer, found by calibration, and -mse, -kl or -p0.999 (a share) for ranges
    /// without outliers. By default what the scheme says.
    #[arg(long, value_name = "NAME", value_parser = activations)]
    activations: Option<ActivationScheme>,
    /// Take the mean error of a layer's outputs into its bias.
    #[arg(long)]
    bias_correction: bool,
    /// Train for so many epochs with weights as they will be stored, and store them rounded to nearest.
    #[arg(long, default_value_t = 0, value_name = "N")]
    qat_epochs: u32,
    /// With --qat-epochs: learned, as parameters of their own from the scales of least squared error on, or fixed, by
    /// the largest magnitudes of each step.
    #[arg(long, default_value = "learned", value_name = "NAME", value_parser = scales)]
    scales: QatScales,
    /// With --qat-epochs: as `train --optimizer`.
    #[arg(long, default_value = "adam", value_name = "NAME")]
    optimizer: String,
    /// With --qat-epochs: rate of the first step; it falls to 0 in a line.
    #[arg(long, default_value_t = 0.0005, value_name = "RATE")]
    learning_rate: f64,
    /// With --qat-epochs: samples of a step.
    #[arg(long, default_value_t = 128, value_name = "N")]
    batch_size: usize,
    /// Write nothing; say what would become of each weight.
    #[arg(long)]
    plan: bool,
    /// Seed of the choice and order of samples.
    #[arg(long, default_value_t = 0, value_name = "N")]
    seed: u64,
    #[command(flatten)]
    model: ModelOptions,
    /// Folder with the data, as for `train`. By default what the model says it was made with, else the images built
    /// in.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Keep what is done in this folder, after every epoch and layer; goes on from there when it is there.
    #[arg(long, value_name = "DIR")]
    checkpoint: Option<PathBuf>,
    /// auto, gpu, cpu, an index, or part of an adapter's or driver's name.
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    device: DeviceOption,
    /// All of these that say what is made.
    #[arg(skip)]
    pub settings: Settings,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Log {
    Quantize(QuantizeLog),
    Qat(QatLog),
}

/// A weight's part of a plan.
#[derive(Debug, Serialize)]
struct PlannedWeight {
    name: String,
    becomes: String,
    reason: String,
    bytes: u64,
}

pub fn run(common: &CommonOptions, options: &QuantizeCommand) -> Result<(), Failure> {
    if is_language_model(&options.input) {
        return options.language_model(common);
    }
    options.calibration.refuse(&options.input)?;
    if options.bits.is_some() {
        return Err(Failure::Usage(format!(
            "{}: --bits is for language models; `lapidary optimize --goal size` chooses what each layer of a network becomes",
            options.input.display()
        )));
    }
    let making = options.making();
    let opened = making.open()?;
    let planned = plan_quantize(&opened.model, &settings(options))?;
    if options.plan {
        let activations = settings(options).scheme.activations;
        return print_plan(common, &planned, (&opened.model, activations));
    }
    making.check_out()?;
    let engine = train::engine(common, &options.device)?;
    let (made, log) = making.with_context(engine.as_ref(), &opened.data, |context| {
        options.make(context, &opened.model)
    })?;
    making.finish(common, (&opened, engine.as_ref()), (&made, &log), text)
}

impl QuantizeCommand {
    fn making(&self) -> Making<'_> {
        Making {
            stage: "quantize",
            input: &self.input,
            out: &self.out,
            described: &self.model,
            data: self.data.as_deref(),
            kept: self.checkpoint.as_deref(),
            seed: self.seed,
            settings: &self.settings,
        }
    }

    /// A language model or an encoder in fewer bits.
    fn language_model(&self, common: &CommonOptions) -> Result<(), Failure> {
        let kind = generate::kind(&self.input);
        let refuse = |flag: &str| {
            let input = self.input.display();
            Err(Failure::Usage(format!(
                "{input}: {kind}, for which there is no {flag}"
            )))
        };
        if self.qat_epochs > 0 {
            return refuse("--qat-epochs");
        }
        if self.bias_correction {
            return refuse("--bias-correction");
        }
        if self.checkpoint.is_some() {
            return refuse(match generate::is_encoder(&self.input) {
                true => "--checkpoint: it is compressed as a whole",
                false => "--checkpoint: what is done is in OUT.partial",
            });
        }
        let settings = settings(self);
        let Some(&linear) = settings.scheme.as_linear() else {
            return Err(Failure::Usage(format!(
                "--scheme {} for {kind}; allowed: int8, int6, int4, int3 and int2, which its files hold as codes",
                settings.scheme
            )));
        };
        if let ActivationScheme::Static(_) = settings.scheme.activations {
            let given = settings.scheme.activations;
            let allowed = match generate::is_encoder(&self.input) {
                true => "float",
                false => "float, int8, int8-g32, int8-g64",
            };
            return Err(Failure::Usage(format!(
                "--activations {given} for {kind}; allowed: {allowed}"
            )));
        }
        let usual = match self.calibration.text() {
            Some(_) => Method::Gptq,
            None => Method::Nearest,
        };
        let change = Change::Quantize {
            linear,
            coding: self.method.unwrap_or(usual),
            gptq: settings.gptq,
            activations: settings.scheme.activations.as_they_come(),
            misfit: settings.misfit,
        };
        let compressing = Compressing {
            stage: "quantize",
            input: &self.input,
            out: &self.out,
            change,
            mean_bits: self.bits,
            keep: &self.keep,
            samples: self.calib,
            calibration: &self.calibration,
            device: &self.device,
            settings: &self.settings,
            is_plan: self.plan,
        };
        compressing.run(common)
    }

    /// The model in fewer bits.
    pub fn make(&self, context: &Context<'_>, model: &Model) -> Result<(Model, Log), Failure> {
        let settings = settings(self);
        if self.qat_epochs == 0 {
            let (made, log) = quantize(context, model, &settings)?;
            return Ok((made, Log::Quantize(log)));
        }
        let optimizer = Optimizer::named(&self.optimizer, Convention::PyTorch).map_err(usage)?;
        let settings = QatOptions {
            quantize: settings,
            scales: self.scales,
            epochs: self.qat_epochs,
            optimizer,
            learning_rate: self.learning_rate,
            batch_size: self.batch_size,
        };
        let (made, log) = qat(context, model, &settings)?;
        Ok((made, Log::Qat(log)))
    }
}

fn scheme(name: &str) -> Result<QuantizeScheme, String> {
    name.parse::<QuantizeScheme>()
        .map_err(|error| error.to_string())
}

fn activations(name: &str) -> Result<ActivationScheme, String> {
    name.parse::<ActivationScheme>()
        .map_err(|error| error.to_string())
}

fn mean_bits(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(bits) if bits > 0.0 && bits.is_finite() => Ok(bits),
        Ok(_) | Err(_) => Err("allowed: a number such as 4.5, above 0".to_owned()),
    }
}

fn damping(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if share > 0.0 && share.is_finite() => Ok(share),
        Ok(_) | Err(_) => Err("allowed: a share such as 0.01, above 0".to_owned()),
    }
}

fn scales(name: &str) -> Result<QatScales, String> {
    name.parse::<QatScales>().map_err(|error| error.to_string())
}

fn method(name: &str) -> Result<Method, String> {
    name.parse::<Method>().map_err(|error| error.to_string())
}

fn settings(options: &QuantizeCommand) -> QuantizeOptions {
    // Of mixed widths each weight has its own.
    let scheme = options
        .scheme
        .unwrap_or_else(|| QuantizeScheme::linear(mixed_codes(Width::Int4)));
    let activations = options.activations.unwrap_or(scheme.activations);
    let scheme = QuantizeScheme {
        activations,
        ..scheme
    };
    let usual = match scheme.as_linear() {
        Some(_) if options.qat_epochs == 0 => Method::Gptq,
        Some(_) | None => Method::Nearest,
    };
    QuantizeOptions {
        method: options.method.unwrap_or(usual),
        keep: options.keep.clone(),
        misfit: match options.on_misfit {
            MisfitName::Error => Misfit::Error,
            MisfitName::SmallerGroup => Misfit::SmallerGroup,
            MisfitName::Int8 => Misfit::Int8,
        },
        bias_correction: options.bias_correction,
        samples: options.calib,
        gptq: Gptq {
            damping: options.damping,
            order: match options.order {
                OrderName::Activation => Order::Activation,
                OrderName::Static => Order::NaturalStatic,
                OrderName::Natural => Order::Natural,
            },
            ..Gptq::default()
        },
        ..QuantizeOptions::new(scheme)
    }
}

fn print_plan(
    common: &CommonOptions,
    planned: &[Planned],
    (model, activations): (&Model, ActivationScheme),
) -> Result<(), Failure> {
    // Pruned weights are met by float ones.
    let met = |name: &str| match (activations, model.tensor(name)) {
        (ActivationScheme::FLOAT, _) | (_, Some(Stored::Sparse { .. })) => String::new(),
        (activations, _) => format!(" x {activations}"),
    };
    let weight = |one: &Planned| PlannedWeight {
        name: one.name.clone(),
        becomes: match one.action {
            Action::Keep => "kept".to_owned(),
            Action::Quantize(linear) => format!("{linear}{}", met(&one.name)),
            Action::Levels(codebook, granularity) => {
                QuantizeScheme::levels(codebook, granularity).to_string()
            }
        },
        reason: one.reason.clone(),
        bytes: one.bytes,
    };
    let weights: Vec<PlannedWeight> = planned.iter().map(weight).collect();
    if common.json {
        return print_json(&weights);
    }
    let mut shown = table(&["weight", "becomes", "bytes", "why"]);
    for one in weights {
        shown.add_row(vec![
            one.name.into(),
            one.becomes.into(),
            number(bytes(one.bytes)),
            one.reason.into(),
        ]);
    }
    print(&shown.to_string())
}

fn text(log: &Log) -> Vec<String> {
    let mut shown = table(&[
        "weight",
        "format",
        "bits on disk",
        "on device",
        "output error",
        "to nearest",
        "how",
    ]);
    let percent = |share: Option<f64>| {
        number(share.map_or_else(String::new, |share| format!("{:.2}%", 100.0 * share)))
    };
    let (title, notes) = match log {
        Log::Quantize(log) => {
            for layer in &log.layers {
                shown.add_row(vec![
                    layer.name.as_str().into(),
                    layer.format.as_str().into(),
                    number(format!("{:.2}", layer.bits_per_weight)),
                    number(format!("{:.2}", layer.device_bits_per_weight)),
                    percent(layer.error),
                    percent(layer.nearest_error),
                    layer.notes.join("; ").into(),
                ]);
            }
            let title = format!("{} by {}, {} samples", log.scheme, log.method, log.samples);
            (title, &log.notes)
        }
        Log::Qat(log) => {
            shown = table(&["weight", "format", "why"]);
            for (name, format, why) in &log.layers {
                shown.add_row([name, format, why]);
            }
            let losses: Vec<String> = log.losses.iter().map(|loss| format!("{loss:.4}")).collect();
            let title = format!(
                "{}, trained with {} scales; losses {}",
                log.scheme,
                log.scales,
                losses.join(", ")
            );
            (title, &log.notes)
        }
    };
    let mut lines = vec![title, shown.to_string()];
    lines.extend(notes.iter().map(|note| format!("note: {note}")));
    lines
}
