//! `lapidary distill`: a small network that learns from a trained one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use clap::{Args, ValueEnum};
use lapidary::autograd::{HintLoss, SoftTargets, TeacherLoss};
use lapidary::compress::deploy::Deployed;
use lapidary::compress::model::Model;
use lapidary::compress::stage::distill::{
    Cache, CacheUse, DistillLog, DistillOptions, Hint, Student, by_labels_alone, distill,
};
use lapidary::compress::stage::{Context, Progress};
use lapidary::data::Dataset;
use lapidary::engine::Engine;
use lapidary::eval;
use lapidary::io::file_sha256;
use lapidary::models::described;
use lapidary::ops::Routes;
use serde::Serialize;
use serde_json::{Value, json};

use crate::models::{data_folder, open_model};
use crate::options::{CommonOptions, DeviceOption, Failure, folder_exists};
use crate::output::{bytes, print, print_json};
use crate::train::setup::{self, PrecisionName};
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
    /// auto, gpu, cpu, an index, or part of an adapter's or driver's name.
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    device: DeviceOption,
    #[command(flatten)]
    described: ModelOptions,
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
    let settings = options.settings()?;
    let folder = match &options.data {
        Some(folder) => Some(folder.clone()),
        None => data_folder(&options.teacher, &options.described)?,
    };
    let data = setup::load_data(folder.as_deref())?;
    let teacher = open_model(&options.teacher, &options.described, &data.train)?;
    let student = options.student(&data.train)?;
    let engine = train::engine(common, &options.device)?;
    let stop = train::stop_on_ctrl_c()?;
    let said = std::cell::RefCell::new(String::new());
    let watch = |progress: &Progress| {
        let mut said = said.borrow_mut();
        if *said != progress.what {
            eprintln!("{} ({} of {})", progress.what, progress.done, progress.of);
            said.clone_from(&progress.what);
        }
        !stop.load(Ordering::Relaxed)
    };
    let context = Context {
        engine: engine.as_ref(),
        train: &data.train,
        test: &data.test,
        seed: options.seed,
        watch: &watch,
    };
    let (model, log) = distill(&context, &teacher, &student, &settings)?;
    let saved = model.save(
        &options.out,
        &options.receipt((engine.as_ref(), folder), &log)?,
    )?;
    let labels_alone_accuracy = if options.control {
        eprintln!("by labels alone");
        let alone = by_labels_alone(&context, &teacher, &student, &settings)?;
        Some(accuracy(engine.as_ref(), &alone, &data.test)?)
    } else {
        None
    };
    let report = Report {
        out: options.out.clone(),
        device: engine.name(),
        teacher_accuracy: accuracy(engine.as_ref(), &teacher, &data.test)?,
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
    fn settings(&self) -> Result<DistillOptions, Failure> {
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

    /// Where the student comes from.
    fn receipt(
        &self,
        (engine, data): (&dyn Engine, Option<PathBuf>),
        log: &DistillLog,
    ) -> Result<BTreeMap<String, Value>, Failure> {
        let weights = match self.teacher.is_dir() {
            true => self.teacher.join(lapidary::compress::model::MODEL_FILE),
            false => self.teacher.clone(),
        };
        let (sha256, _) = file_sha256(&weights).map_err(usage)?;
        let name = |value: &dyn std::fmt::Debug| format!("{value:?}").to_lowercase();
        let options = json!({
            "student": self.student,
            "loss": name(&self.loss),
            "temperature": self.temperature,
            "hard-share": self.hard_share,
            "labelled": self.labelled,
            "hint": self.hint.as_ref().map(|hint| name(hint)),
            "hint-layers": log.hint_layers,
            "hint-weight": self.hint_weight,
            "epochs": self.epochs,
            "fine-tune-epochs": self.fine_tune_epochs,
            "learning-rate": self.learning_rate,
            "fine-tune-rate": self.fine_tune_rate,
            "batch-size": self.batch_size,
            "precision": name(&self.precision),
        });
        let mut receipt = BTreeMap::from([
            ("stage".to_owned(), json!("distill")),
            ("teacher_sha256".to_owned(), json!(sha256)),
            ("options".to_owned(), options),
            ("seed".to_owned(), json!(self.seed)),
            ("device".to_owned(), json!(engine.name())),
        ]);
        if let Some(folder) = data {
            receipt.insert("data".to_owned(), json!(folder));
        }
        Ok(receipt)
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
