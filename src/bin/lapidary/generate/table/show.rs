//! A table of language models: on a terminal, as JSON, and as a folder with a page.

use std::path::{Path, PathBuf};

use comfy_table::Cell;
use lapidary::io::atomic::create_folder;
use lapidary::report::language::{AgainstBase, LanguageReport, LanguageRow, Spread};
use lapidary::report::plot::PlotError;
use serde::Serialize;

use crate::bench::{OUTCOMES_FILE, PAGE_FILE, PICTURE_FILE};
use crate::options::{CommonOptions, Failure};
use crate::output::{bytes, number, number_of, plain, print, print_json, table};
use crate::target::{self, ReportOf};
use crate::train::{usage, write};

use super::plan::is_same;

const NOT_MEASURED: &str = "not measured";

/// A report with what follows from it.
#[derive(Serialize)]
struct Numbers<'a> {
    #[serde(flatten)]
    report: &'a LanguageReport,
    /// For each row whether no other is both smaller and better; null where it was not judged by the whole text.
    front_by_perplexity: Vec<Option<bool>>,
    front_by_divergence: Vec<Option<bool>>,
}

impl<'a> Numbers<'a> {
    fn new(report: &'a LanguageReport) -> Self {
        Self {
            front_by_perplexity: report.front_by_perplexity(),
            front_by_divergence: report.front_by_divergence(),
            report,
        }
    }
}

/// Refuses a folder that holds something else, cannot be written, or is one of the models, before all work.
pub fn check<'a>(
    folder: &Path,
    mut models: impl Iterator<Item = &'a PathBuf>,
) -> Result<(), Failure> {
    if models.any(|model| is_same(model, folder)) {
        return Err(Failure::Usage(format!(
            "{}: is a model that is read; name another folder for the report",
            folder.display()
        )));
    }
    target::for_report(folder, ReportOf::LanguageModels)
}

/// Writes numbers, page and picture.
pub fn write_report(folder: &Path, report: &LanguageReport) -> Result<(), Failure> {
    create_folder(folder).map_err(usage)?;
    let text = serde_json::to_string_pretty(&Numbers::new(report)).map_err(usage)?;
    write(&folder.join(OUTCOMES_FILE), &(text + "\n"))?;
    write(&folder.join(PAGE_FILE), &report.to_html().map_err(usage)?)?;
    match report.perplexity_svg() {
        Ok(Some(picture)) => write(&folder.join(PICTURE_FILE), &picture)?,
        // The page says so.
        Ok(None) | Err(PlotError::TooMany { .. }) => {}
        Err(error) => return Err(usage(error)),
    }
    eprintln!("report: {}", folder.join(PAGE_FILE).display());
    Ok(())
}

pub fn print_report(common: &CommonOptions, report: &LanguageReport) -> Result<(), Failure> {
    match common.json {
        true => print_json(&Numbers::new(report)),
        false => print(&text(report)),
    }
}

fn text(report: &LanguageReport) -> String {
    let mut rows = table(&[
        "model",
        "weights",
        "bits/weight",
        "perplexity",
        "ln p - base's",
        "divergence",
        "same top",
        "read tok/s",
        "write tok/s",
        "made by, else holds",
    ]);
    let fronts = report.front_by_perplexity();
    let fronts = fronts.into_iter().zip(report.front_by_divergence());
    for ((index, row), (perplexity, divergence)) in report.rows.iter().enumerate().zip(fronts) {
        let is_free = perplexity == Some(true) || divergence == Some(true);
        rows.add_row(cells((index, row), is_free));
    }
    let judged = &report.text;
    let speed = report.timed.map_or_else(
        || format!("speed: {NOT_MEASURED}"),
        |timed| {
            format!(
                "read {} tokens at once, then write {} one by one: the median of {} and its ends; one model on the device at a time",
                timed.prompt_tokens, timed.new_tokens, timed.repeat
            )
        },
    );
    let mut lines = vec![
        rows.to_string(),
        String::new(),
        format!(
            "* no other model is both smaller and better; {} predictions of {}, window {}, stride {}; +- is one standard error",
            judged.predictions,
            plain(&judged.file),
            judged.window,
            judged.stride
        ),
        "ln p - base's and divergence: nats a token against the first row, token by token"
            .to_owned(),
        speed,
        report.device.clone(),
    ];
    lines.extend(report.notes.iter().map(|note| plain(note)));
    if !report.is_complete {
        lines.push("incomplete: stopped before everything was measured".to_owned());
        lines.extend(report.error.as_deref().map(plain));
    }
    lines.join("\n")
}

fn cells((index, row): (usize, &LanguageRow), is_free: bool) -> Vec<Cell> {
    let mark = if is_free { "*" } else { " " };
    let with_error = |value: String, error: f64| match error.is_finite() {
        true => format!("{value} +- {}", number_of(error)),
        false => value,
    };
    let missing = || NOT_MEASURED.to_owned();
    let perplexity = row.quality.map_or_else(missing, |quality| {
        let found = quality.perplexity;
        with_error(number_of(found.value), found.standard_error)
    });
    let against = |shown: &dyn Fn(&AgainstBase) -> String| match &row.against {
        Some(found) => shown(found),
        None if index == 0 => "-".to_owned(),
        None => missing(),
    };
    let rate = |of: fn(&lapidary::report::language::TextSpeed) -> Spread| {
        row.speed.as_ref().map_or_else(missing, |speed| {
            let found = of(speed);
            match found.low == found.high {
                true => format!("{:.1}", found.median),
                false => format!(
                    "{:.1} ({:.1} to {:.1})",
                    found.median, found.low, found.high
                ),
            }
        })
    };
    let made_by = row.made_by.as_ref().unwrap_or(&row.format);
    vec![
        Cell::new(format!("{mark} {}", plain(&row.name))),
        number(bytes(row.weight_bytes)),
        number(format!("{:.2}", row.bits_per_weight)),
        number(perplexity),
        number(against(&|one| {
            let found = one.log_likelihood_difference;
            with_error(number_of(found.value), found.standard_error)
        })),
        number(against(&|one| {
            let found = one.divergence;
            with_error(number_of(found.value), found.standard_error)
        })),
        number(against(&|one| {
            let found = one.same_top_token;
            format!("{:.2}%", 100.0 * found.value)
        })),
        number(rate(|speed| speed.prefill)),
        number(rate(|speed| speed.decode)),
        Cell::new(plain(made_by)),
    ]
}
