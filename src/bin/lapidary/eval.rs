//! `lapidary eval`: how good a trained network is on a test set.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use lapidary::data::Dataset;
use lapidary::eval::{
    Average, ClassMetrics, Confusion, auc_one_vs_rest, cross_entropy, log_probabilities,
    predictions, top_k_accuracy,
};
use lapidary::record::Recording;
use lapidary::report::Page;
use lapidary::report::plot::{Matrix, PlotError, matrix};
use lapidary::train::Predictor;
use serde::Serialize;

use crate::generate::{PerplexityOptions, perplexity};
use crate::options::{CommonOptions, DeviceOption, Failure, can_be_written, given};
use crate::output::{number, print, print_json, table};
use crate::train::{self, setup, usage, write};
use crate::trained::{ModelOptions, Trained};

/// Confusion matrices of more classes are not printed as text.
const SHOWN_CLASSES: usize = 20;

/// Guesses of a sample, and samples of a pass, unless given.
const TOP: u32 = 5;
const BATCH: u32 = 256;

#[derive(Debug, Args)]
pub struct EvalOptions {
    /// A safetensors file, as `train --out` or `train --checkpoint` writes it.
    /// With `--perplexity` a language model, or several.
    #[arg(required = true, value_name = "MODEL")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    perplexity: PerplexityOptions,
    /// Folder with the data, as for `train`; its test set is what counts. By default what the file says it was trained on, else
    /// the images built in.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    #[command(flatten)]
    model: ModelOptions,
    /// How many guesses a sample has, beside one; 5 unless given.
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..))]
    top: Option<u32>,
    /// Samples of one pass; 256 unless given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    batch_size: Option<u32>,
    /// Draw the confusion matrix.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Write the whole report as a page.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// auto, gpu, cpu, an index, or part of an adapter's or driver's name.
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    device: DeviceOption,
}

impl EvalOptions {
    /// Refuses what would change nothing in the judgement of a language model.
    fn refuse_for_language_models(&self) -> Result<(), Failure> {
        let mut flags = vec![
            (self.data.is_some(), "--data"),
            (self.top.is_some(), "--top"),
            (self.batch_size.is_some(), "--batch-size"),
            (self.svg.is_some(), "--svg"),
            (self.html.is_some(), "--html"),
        ];
        flags.extend(self.model.flags());
        match given(&flags) {
            None => Ok(()),
            Some(flags) => Err(Failure::Usage(format!(
                "{flags}: only for networks; --perplexity judges language models, and --report DIR keeps a page of them"
            ))),
        }
    }
}

#[derive(Debug, Serialize)]
struct Report {
    file: String,
    model: String,
    device: String,
    samples: usize,
    accuracy: f64,
    top_k: usize,
    top_k_accuracy: f64,
    log_loss: f64,
    /// The mean over classes of each against the rest.
    auc: f64,
    #[serde(rename = "macro")]
    macro_mean: Metrics,
    weighted: Metrics,
    micro: Metrics,
    classes: Vec<Class>,
    /// `[classes, predictions]`.
    confusion: Vec<Vec<u64>>,
    samples_per_second: f64,
}

#[derive(Debug, Serialize)]
struct Metrics {
    precision: f64,
    recall: f64,
    f1: f64,
}

#[derive(Debug, Serialize)]
struct Class {
    name: String,
    samples: u64,
    auc: f64,
    #[serde(flatten)]
    metrics: Metrics,
}

pub fn run(common: &CommonOptions, options: &EvalOptions) -> Result<(), Failure> {
    if let Some(text) = &options.perplexity.perplexity {
        options.refuse_for_language_models()?;
        let models = (&options.files[..], &options.device);
        return perplexity(common, models, text, &options.perplexity);
    }
    let [model] = &options.files[..] else {
        return Err(Failure::Usage(format!(
            "{} models; allowed: one, or several language models with --perplexity FILE (`bench` compares networks)",
            options.files.len()
        )));
    };
    options.perplexity.refuse()?;
    for file in [&options.svg, &options.html].into_iter().flatten() {
        can_be_written(file)?;
    }
    let trained = Trained::open(model, &options.model)?;
    let folder = options.data.as_deref().or(trained.options.data.as_deref());
    let mut data = setup::load_windows(folder, trained.options.window)?;
    trained.clean(&mut data)?;
    trained.check(&data.train)?;
    let (network, parameters) = trained.network(&data.train)?;
    let mut test = data.test;
    test.require_per_class(1)
        .map_err(|error| Failure::Usage(format!("test set: {error}")))?;
    let inputs = trained.inputs(&data.train)?;
    inputs.apply(&mut test).map_err(usage)?;

    let engine = train::engine(common, &options.device)?;
    let mut uploads = Recording::new();
    let parameters: Vec<_> = parameters
        .iter()
        .map(|(_, value)| uploads.upload(value))
        .collect();
    engine.run(&uploads)?;
    let batch = options.batch_size.unwrap_or(BATCH) as usize;
    let predictor = Predictor::new(engine.as_ref(), network.as_ref(), &parameters, batch)?;
    // The first pass may compile; times are of the others.
    predictor.logits(test.sample(0))?;
    let began = Instant::now();
    let logits = predictor.logits(test.inputs())?;
    let seconds = began.elapsed().as_secs_f64();

    let mut report = judge(&test, &logits, options.top.unwrap_or(TOP) as usize).map_err(usage)?;
    report.file = model.display().to_string();
    report.model = network.describe();
    report.device = engine.name();
    report.samples_per_second = test.n_samples() as f64 / seconds;
    if let Some(file) = &options.svg {
        write(file, &picture(&report).map_err(usage)?)?;
    }
    if let Some(file) = &options.html {
        write(file, &page(&report)?)?;
    }
    if common.json {
        print_json(&report)
    } else {
        print(&text(&report))
    }
}

/// All metrics of logits `[n, classes]`.
fn judge(test: &Dataset, logits: &[f32], k: usize) -> Result<Report, lapidary::eval::EvalError> {
    let (labels, n) = (test.labels(), test.n_classes());
    let confusion = Confusion::new(labels, &predictions(logits, n)?, n)?;
    // Areas rank samples by the probability of a class; its logarithm ranks them alike and does not round
    // the sure ones to 1.
    let areas = auc_one_vs_rest(&log_probabilities(logits, n)?, labels, n)?;
    let class = |(class, name): (usize, &String)| {
        let metrics = confusion.class(class);
        Class {
            name: name.clone(),
            samples: metrics.support,
            auc: areas.per_class[class],
            metrics: shares(&metrics),
        }
    };
    let average = |how| confusion.average(how).map(|metrics| shares(&metrics));
    let top_k = k.min(n);
    Ok(Report {
        file: String::new(),
        model: String::new(),
        device: String::new(),
        samples: test.n_samples(),
        accuracy: confusion.accuracy(),
        top_k,
        top_k_accuracy: top_k_accuracy(logits, labels, n, top_k)?,
        log_loss: cross_entropy(logits, labels, n)?,
        auc: areas.macro_mean,
        macro_mean: average(Average::Macro)?,
        weighted: average(Average::Weighted)?,
        micro: average(Average::Micro)?,
        classes: test.class_names().iter().enumerate().map(class).collect(),
        confusion: (0..n).map(|row| confusion.row(row).to_vec()).collect(),
        samples_per_second: 0.0,
    })
}

fn shares(metrics: &ClassMetrics) -> Metrics {
    Metrics {
        precision: metrics.precision,
        recall: metrics.recall,
        f1: metrics.f1,
    }
}

/// The rows of the table of classes, and of the averages.
fn class_rows(report: &Report) -> Vec<Vec<String>> {
    let share = |value: f64| format!("{value:.4}");
    let row = |name: &str, metrics: &Metrics, auc: Option<f64>, samples: u64| {
        vec![
            name.to_owned(),
            share(metrics.precision),
            share(metrics.recall),
            share(metrics.f1),
            auc.map(share).unwrap_or_default(),
            samples.to_string(),
        ]
    };
    let classes = report.classes.iter();
    let mut rows: Vec<_> = classes
        .map(|class| row(&class.name, &class.metrics, Some(class.auc), class.samples))
        .collect();
    let n = report.samples as u64;
    rows.push(row("macro mean", &report.macro_mean, Some(report.auc), n));
    rows.push(row("weighted mean", &report.weighted, None, n));
    rows.push(row("micro mean", &report.micro, None, n));
    rows
}

const CLASS_HEADER: [&str; 6] = ["class", "precision", "recall", "F1", "AUC", "samples"];

fn summary(report: &Report) -> [String; 3] {
    [
        format!("{} on {}", report.model, report.device),
        format!(
            "accuracy {:.4}, top {} accuracy {:.4}, log loss {:.4}, AUC {:.4}",
            report.accuracy, report.top_k, report.top_k_accuracy, report.log_loss, report.auc
        ),
        format!(
            "{} samples, {:.0} samples/s",
            report.samples, report.samples_per_second
        ),
    ]
}

fn text(report: &Report) -> String {
    let mut text = summary(report).join("\n");
    let mut classes = table(&CLASS_HEADER);
    for row in class_rows(report) {
        let mut cells = row.into_iter();
        let name = cells.next().unwrap_or_default();
        classes.add_row([name.into()].into_iter().chain(cells.map(number)));
    }
    text += &format!("\n\n{classes}\n");
    if report.classes.len() > SHOWN_CLASSES {
        text += "\nmany classes: the confusion matrix is in --json and --html\n";
        return text;
    }
    // Columns by number, so that the table stays narrow.
    let columns = (0..report.classes.len()).map(|class| class.to_string());
    let header: Vec<String> = ["class taken for".to_owned()]
        .into_iter()
        .chain(columns)
        .collect();
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    let mut confusion = table(&header);
    for (index, (class, counts)) in report.classes.iter().zip(&report.confusion).enumerate() {
        let name = format!("{index} {}", class.name);
        confusion.add_row([name.into()].into_iter().chain(counts.iter().map(number)));
    }
    text + &format!("\n{confusion}\n")
}

fn picture(report: &Report) -> Result<String, PlotError> {
    matrix(&Matrix {
        title: format!("Confusion of {}", report.model),
        row_name: "class".to_owned(),
        column_name: "taken for (shade: share of the class)".to_owned(),
        names: report
            .classes
            .iter()
            .map(|class| class.name.clone())
            .collect(),
        counts: report.confusion.concat(),
    })
}

fn page(report: &Report) -> Result<String, Failure> {
    let mut page = Page::new(format!("Evaluation of {}", report.file));
    for line in summary(report) {
        page.paragraph(&line);
    }
    page.heading("Classes")
        .table(&CLASS_HEADER, &class_rows(report));
    page.heading("Confusion");
    match picture(report) {
        Ok(svg) => page.figure("How often each class was taken for each.", &svg),
        Err(PlotError::TooMany { .. }) => page.paragraph("There are too many classes to draw."),
        Err(error) => return Err(usage(error)),
    };
    Ok(page.to_html())
}
