//! `lapidary distill`: a small network that learns from a trained one.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use lapidary::autograd::{HintLoss, SoftTargets, TeacherLoss};
use lapidary::compress::deploy::Deployed;
use lapidary::compress::model::Model;
use lapidary::compress::stage::Context;
use lapidary::compress::stage::distill::{
    Cache, CacheUse, DistillLog, DistillOptions, Hint, Student, by_labels_alone, distill,
};
use lapidary::data::Dataset;
use lapidary::engine::Engine;
use lapidary::eval;
use lapidary::models::{Network as _, described};
use lapidary::ops::Routes;
use serde::Serialize;

use crate::config::Settings;
use crate::made::Making;
use crate::models::open_model;
use crate::options::{CommonOptions, DeviceOption, Failure, folder_exists};
use crate::output::{bytes, print, print_json};
use crate::target;
use crate::train::setup::PrecisionName;
use crate::train::{self, usage};
use crate::trained::ModelOptions;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LossName {
    /// Its distribution over the classes, softened by a temperature.
    Soft,
    /// Its logits, by squared differences.
    Logits,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum HintName {
    /// Squared differences of features, through a learned projection.
    Squares,
    /// Directions of features, through a learned projection.
    Cosine,
    /// Where features of images are large.
    Attention,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  lapidary train --model mlp --out teacher.safetensors
  lapidary distill teacher.safetensors student --student \"mlp 784-32-10\"
  lapidary distill teacher.safetensors student --student \"mlp 32\" --labelled 1000 --epochs 20 --control
  lapidary distill teacher.safetensors student --student cnn --loss logits --hint cosine --fine-tune-epochs 2")]
pub struct DistillCommand {
    /// The trained network: a folder with a model, or a safetensors file as `train --out` writes it.
    #[arg(value_name = "TEACHER")]
    teacher: PathBuf,
    /// Folder for the student.
    #[arg(value_name = "OUT")]
    out: PathBuf,
    /// What learns: `mlp 784-32-10`, `mlp 32` (hidden extents), `cnn`, `mobilenet 0.5`, or the folder of a model
    /// that learns more.
    #[arg(long, value_name = "NETWORK")]
    student: String,
    /// What it takes from the teacher's logits.
    #[arg(long, value_enum, default_value = "soft")]
    loss: LossName,
    /// What both logits are divided by, for --loss soft.
    #[arg(long, default_value_t = 4.0, value_name = "T")]
    temperature: f32,
    /// Weight of the labels, from 0 to 1; the teacher has the rest.
    #[arg(long, default_value_t = 0.1, value_name = "W")]
    hard_share: f32,
    /// Use the labels of so many samples only, drawn by the seed; the others teach by the teacher alone.
    #[arg(long, value_name = "N")]
    labelled: Option<usize>,
    /// Learn features of the teacher besides its logits.
    #[arg(long, value_enum, value_name = "LOSS")]
    hint: Option<HintName>,
    /// Layers behind which features are taken, of the teacher and of the student, by index; by default the one
    /// before the last with tensors, or the last images of one size for --hint attention.
    #[arg(
        long,
        value_name = "TEACHER,STUDENT",
        value_delimiter = ',',
        num_args = 1,
        requires = "hint"
    )]
    hint_layers: Vec<usize>,
    /// Weight of the features beside the loss of the logits.
    #[arg(long, default_value_t = 1.0, value_name = "W", requires = "hint")]
    hint_weight: f32,
    /// Passes over the training set.
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    epochs: u32,
    /// Passes over the samples with labels afterwards, by labels alone.
    #[arg(long, default_value_t = 0, value_name = "N")]
    fine_tune_epochs: u32,
    /// Of AdamW; it falls to 0 in a line.
    #[arg(long, default_value_t = 0.002, value_name = "RATE")]
    learning_rate: f64,
    /// The same of the passes over labels alone.
    #[arg(long, default_value_t = 0.0002, value_name = "RATE")]
    fine_tune_rate: f64,
    /// Samples of a step.
    #[arg(long, default_value_t = 128, value_name = "N")]
    batch_size: usize,
    /// How results between operations are stored; f16 has a dynamic loss scale.
    #[arg(long, value_enum, default_value = "f32")]
    precision: PrecisionName,
    /// Do not keep the teacher's outputs in OUT.teacher.safetensors.
    #[arg(long)]
    no_cache: bool,
    /// Train the student by the labels alone too, for as many steps, and tell what the teacher adds.
    #[arg(long)]
    control: bool,
    /// Folder with the data, as for `train`; by default what the teacher was trained on, else the images built in.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Seed of first values, of the order of samples, and of which have labels.
    #[arg(long, default_value_t = 0, value_name = "N")]
    seed: u64,
    /// Keep what is done in this folder, after every epoch and layer; goes on from there when it is there.
    #[arg(long, value_name = "DIR")]
    checkpoint: Option<PathBuf>,
    /// auto, gpu, cpu, an index, or part of an adapter's or driver's name.
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    device: DeviceOption,
    #[command(flatten)]
    described: ModelOptions,
    /// All of these that say what is made.
    #[arg(skip)]
    pub settings: Settings,
}

#[derive(Debug, Serialize)]
struct Report {
    out: PathBuf,
    device: String,
    teacher_accuracy: f64,
    accuracy: f64,
    /// Of the same network trained by the labels alone.
    labels_alone_accuracy: Option<f64>,
    teacher_bytes: u64,
    bytes: u64,
    sha256: String,
    seed: u64,
    log: DistillLog,
}

pub fn run(common: &CommonOptions, options: &DistillCommand) -> Result<(), Failure> {
    folder_exists(&options.out)?;
    let making = options.making();
    making.check_out()?;
    target::apart(&options.out, &[Path::new(&options.student)])?;
    let opened = making.open()?;
    let (teacher, data) = (&opened.model, &opened.data);
    let engine = train::engine(common, &options.device)?;
    let (model, log) = making.with_context(engine.as_ref(), data, |context| {
        options.make(context, teacher)
    })?;
    let mut receipt = making.receipt(&opened, &log, engine.as_ref())?;
    if let Some(sha256) = receipt.remove("base_sha256") {
        receipt.insert("teacher_sha256".to_owned(), sha256);
    }
    let saved = model.save(&options.out, &receipt)?;
    let labels_alone_accuracy = if options.control {
        eprintln!("by labels alone");
        let alone = making.with_context(engine.as_ref(), data, |context| {
            let student = options.student(&data.train)?;
            let settings = options.options()?;
            Ok(by_labels_alone(context, teacher, &student, &settings)?)
        })?;
        Some(accuracy(engine.as_ref(), &alone, &data.test)?)
    } else {
        None
    };
    let report = Report {
        out: options.out.clone(),
        device: engine.name(),
        teacher_accuracy: accuracy(engine.as_ref(), teacher, &data.test)?,
        accuracy: accuracy(engine.as_ref(), &model, &data.test)?,
        labels_alone_accuracy,
        teacher_bytes: teacher.bytes(),
        bytes: model.bytes(),
        sha256: saved.sha256,
        seed: options.seed,
        log,
    };
    if common.json {
        print_json(&report)
    } else {
        print(&text(&report))
    }
}

impl DistillCommand {
    fn making(&self) -> Making<'_> {
        Making {
            stage: "distill",
            input: &self.teacher,
            out: &self.out,
            described: &self.described,
            data: self.data.as_deref(),
            kept: self.checkpoint.as_deref(),
            seed: self.seed,
            settings: &self.settings,
        }
    }

    /// The student of a teacher.
    pub fn make(
        &self,
        context: &Context<'_>,
        teacher: &Model,
    ) -> Result<(Model, DistillLog), Failure> {
        let student = self.student(context.train)?;
        Ok(distill(context, teacher, &student, &self.options()?)?)
    }

    /// The student before it learns.
    pub fn begun(&self, teacher: &Model, train: &Dataset) -> Result<Model, Failure> {
        let student = self.student(train)?;
        let inputs = student.inputs.unwrap_or_else(|| teacher.inputs().clone());
        let values = match student.values {
            Some(values) => values,
            None => student.network.parameters(self.seed)?,
        };
        Ok(Model::new(student.network, inputs, values)?)
    }

    fn options(&self) -> Result<DistillOptions, Failure> {
        let layers = match self.hint_layers[..] {
            [] => None,
            [teacher, student] => Some([teacher, student]),
            _ => {
                return Err(Failure::Usage(
                    "--hint-layers takes two numbers: a layer of the teacher, a layer of the student"
                        .to_owned(),
                ));
            }
        };
        let hard_share = self.hard_share;
        let cache = (!self.no_cache).then(|| {
            let mut name = self.out.file_name().unwrap_or_default().to_owned();
            name.push(".teacher.safetensors");
            Cache::new(self.out.with_file_name(name))
        });
        Ok(DistillOptions {
            loss: match self.loss {
                LossName::Soft => TeacherLoss::SoftTargets(SoftTargets {
                    hard_share,
                    temperature: self.temperature,
                }),
                LossName::Logits => TeacherLoss::Logits { hard_share },
            },
            hint: self.hint.map(|hint| Hint {
                loss: match hint {
                    HintName::Squares => HintLoss::Squares,
                    HintName::Cosine => HintLoss::Cosine,
                    HintName::Attention => HintLoss::Attention,
                },
                weight: self.hint_weight,
                layers,
            }),
            labelled: self.labelled,
            epochs: self.epochs,
            fine_tune_epochs: self.fine_tune_epochs,
            learning_rate: self.learning_rate,
            fine_tune_rate: self.fine_tune_rate,
            batch_size: self.batch_size,
            precision: self.precision.into(),
            cache,
        })
    }

    /// A network by its description, or a model that is there.
    fn student(&self, train: &Dataset) -> Result<Student, Failure> {
        let path = Path::new(&self.student);
        if path.exists() {
            return Ok((&open_model(path, &self.described, train)?).into());
        }
        let (shape, classes) = (train.sample_shape(), train.n_classes());
        let network = described(&self.student, shape, classes);
        Ok(network
            .map_err(|error| Failure::Usage(format!("--student: {error}")))?
            .into())
    }
}

/// The share of test samples whose class has the highest logit.
fn accuracy(engine: &dyn Engine, model: &Model, test: &Dataset) -> Result<f64, Failure> {
    let test = model.prepare(test)?;
    let deployed = Deployed::new(engine, model, &Routes::default())?;
    let logits = deployed.logits(test.inputs())?;
    eval::accuracy(&logits, test.labels(), test.n_classes()).map_err(usage)
}

fn text(report: &Report) -> String {
    let log = &report.log;
    let labelled: usize = log.labelled.iter().sum();
    let mut lines = vec![
        report.device.clone(),
        format!(
            "teacher {}, accuracy {:.4}, {}",
            log.teacher,
            report.teacher_accuracy,
            bytes(report.teacher_bytes)
        ),
        format!(
            "student {}, accuracy {:.4}, {}",
            log.student,
            report.accuracy,
            bytes(report.bytes)
        ),
        format!(
            "{} steps; {labelled} of {} samples with labels",
            log.steps, log.samples
        ),
    ];
    if let Some(alone) = report.labels_alone_accuracy {
        lines.push(format!(
            "by labels alone {alone:.4}: the teacher adds {:+.4}",
            report.accuracy - alone
        ));
    }
    lines.push(match log.cache {
        CacheUse::None => "the teacher's outputs were not kept".to_owned(),
        CacheUse::Read => "the teacher's outputs were read from their file".to_owned(),
        CacheUse::Written => "the teacher's outputs were made and kept".to_owned(),
        CacheUse::TooLarge => {
            "the teacher's outputs were made and are too large to keep".to_owned()
        }
    });
    lines.push(format!("{} {}", report.out.display(), report.sha256));
    lines.join("\n")
}
