//! `lapidary verify MODEL --against-cpu`: every operation of a language model against the CPU reference.

use std::path::PathBuf;
use std::sync::atomic::Ordering;

use indicatif::ProgressBar;
use lapidary::generate::{self, Operation, Verification};
use lapidary::verify::finite_or_text;
use serde::Serialize;

use crate::options::{CommonOptions, DeviceOption, Failure};
use crate::output::{print, print_json};
use crate::train;

use super::{LanguageOptions, Opened, check_prompt, failure, is_encoder, is_language_model};

#[derive(Debug, Serialize)]
struct Report {
    model: PathBuf,
    device: String,
    tokens: usize,
    operations: usize,
    elements: usize,
    exact: usize,
    #[serde(serialize_with = "finite_or_text")]
    worst_over_bound: f64,
    worst_operation: String,
    first_wrong: Option<String>,
    first_overflow: Option<String>,
    /// Whichever of the two came first.
    #[serde(skip)]
    first: Option<String>,
}

/// Verifies each model; fails with the first that is wrong, after all.
pub fn verify(
    common: &CommonOptions,
    device: &DeviceOption,
    models: &[PathBuf],
    (prompt, language): (&str, &LanguageOptions),
) -> Result<(), Failure> {
    device.adapter("verify compares an adapter with the CPU reference")?;
    if let Some(path) = models.iter().find(|path| !is_language_model(path)) {
        return Err(Failure::Usage(format!(
            "{}: --against-cpu is for language models: a .gguf file, or a folder with config.json and tokenizer.json or tokenizer.model",
            path.display()
        )));
    }
    if let Some(path) = models.iter().find(|path| is_encoder(path)) {
        return Err(Failure::Usage(format!(
            "{}: an encoder; `lapidary embed MODEL TEXT --verify` compares its operations with the CPU reference",
            path.display()
        )));
    }
    let stop = train::stop_on_ctrl_c()?;
    let mut reports = Vec::new();
    for path in models {
        let (opened, tokens) = Opened::new(
            common,
            device,
            path,
            (language, 1),
            |vocabulary, context| {
                let tokens = vocabulary.tokens(prompt).map_err(failure)?;
                check_prompt(&tokens, 0, context)?;
                Ok(tokens)
            },
        )?;
        let (engine, llama) = (opened.engine.as_ref(), &opened.model.llama);
        let bar = ProgressBar::new_spinner();
        let found = generate::verify(engine, llama, &tokens, language.session(1), &mut |place| {
            bar.set_message(place.to_owned());
            bar.tick();
            !stop.load(Ordering::Relaxed)
        });
        bar.finish_and_clear();
        let found = found.map_err(failure)?;
        if stop.load(Ordering::Relaxed) {
            return Err(Failure::Mismatch(format!("{}: stopped", path.display())));
        }
        reports.push(report(path, engine.name(), tokens.len(), &found));
    }
    if common.json {
        print_json(&reports)?;
    } else {
        print(&reports.iter().map(text).collect::<Vec<_>>().join("\n"))?;
    }
    match reports
        .iter()
        .find_map(|one| Some((one, one.first.as_ref()?)))
    {
        None => Ok(()),
        Some((one, what)) => Err(Failure::Mismatch(format!(
            "{}: {what}",
            one.model.display()
        ))),
    }
}

fn report(model: &std::path::Path, device: String, tokens: usize, found: &Verification) -> Report {
    let place = |one: &Operation| {
        format!(
            "{}, operation {}: {} {}",
            one.place, one.index, one.kernel, one.shape
        )
    };
    let element = |one: &Operation| {
        one.element.as_ref().map_or_else(String::new, |element| {
            format!(
                ": element {} is {:e}, reference {:e}",
                element.index, element.got, element.expected
            )
        })
    };
    let wrong = |one: &Operation| {
        let allowed = one.element.as_ref().map_or(0.0, |element| element.allowed);
        format!("{}{}, allowed error {allowed:e}", place(one), element(one))
    };
    let overflow =
        |one: &Operation| format!("{}{}: too large for its type", place(one), element(one));
    let number = |one: &Option<Operation>| one.as_ref().map_or(usize::MAX, |one| one.number);
    let is_overflow = number(&found.first_overflow) <= number(&found.first_wrong);
    let (first_wrong, first_overflow) = (
        found.first_wrong.as_ref().map(wrong),
        found.first_overflow.as_ref().map(overflow),
    );
    Report {
        first: if is_overflow {
            first_overflow.clone()
        } else {
            first_wrong.clone()
        },
        model: model.to_owned(),
        device,
        tokens,
        operations: found.operations,
        elements: found.elements,
        exact: found.exact,
        worst_over_bound: found.worst_over_bound,
        worst_operation: found.worst.as_ref().map_or_else(String::new, place),
        first_wrong,
        first_overflow,
    }
}

fn text(report: &Report) -> String {
    let line = |what: &str, found: &Option<String>| {
        let found = found.as_ref();
        found.map_or_else(String::new, |found| format!("\n{what}: {found}"))
    };
    format!(
        "{}: {} tokens, {} operations, {} of {} elements exact, worst error {:.3} of its bound ({}), on {}{}{}",
        report.model.display(),
        report.tokens,
        report.operations,
        report.exact,
        report.elements,
        report.worst_over_bound,
        report.worst_operation,
        report.device,
        line("first wrong", &report.first_wrong),
        line("first overflow", &report.first_overflow),
    )
}
