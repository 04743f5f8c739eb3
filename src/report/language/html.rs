//! The page: what it is about, pictures, tables, and where it all comes from.

use super::pictures::{self, Picture};
use super::{AgainstBase, Estimate, LanguageReport, LanguageRow, Spread, TextSpeed};
use crate::report::compression::words::{NOT_MEASURED, SIZE, bytes, thousands};
use crate::report::page::Page;
use crate::report::plot::PlotError;
use crate::report::rich::{Cell, Row, Tone};
use crate::report::text::number;

const FRONT_MARK: &str = "◆ ";

const QUALITY_HEADER: [&str; 8] = [
    "model",
    "weights",
    "bits per weight",
    "perplexity",
    "ln p less that of the base",
    "divergence from the base",
    "same most likely token",
    "made by",
];

const SPEED_HEADER: [&str; 6] = [
    "model",
    "reading, tokens/s",
    "writing, tokens/s",
    "submissions a token",
    "cache",
    "most on the device",
];

const FILES_HEADER: [&str; 7] = [
    "model",
    "file",
    "holds",
    "parameters",
    "keys and values",
    "activations",
    "SHA-256",
];

pub(super) fn page(report: &LanguageReport) -> Result<String, PlotError> {
    let mut page = Page::new(&report.title);
    let text = &report.text;
    page.lead(&format!(
        "{} rows on {} predictions of {}, in windows of {} tokens, {} from one to the next.",
        report.rows.len(),
        thousands(text.predictions as f64),
        text.file,
        text.window,
        text.stride
    ));
    if !report.is_complete {
        page.paragraph("INCOMPLETE: it was stopped before everything was measured.");
        if let Some(error) = &report.error {
            page.paragraph(&format!("It ended with an error in {error}"));
        }
    }
    if !report.notes.is_empty() {
        page.list(&report.notes);
    }
    add_pictures(&mut page, report)?;
    add_quality(&mut page, report);
    add_speed(&mut page, report);
    add_files(&mut page, report);
    add_origin(&mut page, report);
    Ok(page.to_html())
}

fn add_pictures(page: &mut Page, report: &LanguageReport) -> Result<(), PlotError> {
    page.heading("What is lost against what is saved");
    let front = "Whiskers are 95 % intervals, as if tokens were independent. The line is the Pareto front: a model \
                 above or right of it is beaten by another.";
    let base = report.rows.first().map_or("", |row| row.name.as_str());
    let (mut figures, mut said) = (Vec::new(), Vec::new());
    let mut add = |found: Result<Option<Picture>, PlotError>, what: &str, caption: String| {
        match found {
            Ok(Some(Picture { svg, missing })) => {
                let left_out = match missing.is_empty() {
                    true => String::new(),
                    false => format!(" Not in it: {}.", missing.join(", ")),
                };
                figures.push((format!("{caption}{left_out}"), svg));
            }
            Ok(None) => said.push(format!("{what}: nothing to draw.")),
            Err(PlotError::TooMany { what, count, .. }) => {
                said.push(format!("There are too many {what} to draw: {count}."));
            }
            Err(error) => return Err(error),
        }
        Ok(())
    };
    let pairs = " Intervals of two models overlap sooner than their difference is uncertain, because both read the \
                 same text; the table has the error of the pairs.";
    add(
        pictures::perplexity(report),
        "Perplexity",
        format!("{front}{pairs}"),
    )?;
    add(
        pictures::divergence(report),
        "Divergence",
        format!(
            "Kullback-Leibler divergence of predictions from those of {base}, which has none. {front}"
        ),
    )?;
    page.figures(&figures);
    for sentence in said {
        page.paragraph(&sentence);
    }
    Ok(())
}

fn add_quality(page: &mut Page, report: &LanguageReport) {
    page.heading("How well each predicts");
    let fronts = report.front_by_perplexity();
    let fronts = fronts.into_iter().zip(report.front_by_divergence());
    let rows = report.rows.iter().enumerate().zip(fronts);
    let rows = rows.map(|((index, row), (perplexity, divergence))| {
        let is_free = perplexity == Some(true) || divergence == Some(true);
        let mark = if is_free { FRONT_MARK } else { "" };
        Row {
            name: Cell::new(format!("{mark}{}", row.name)),
            cells: quality_cells(report, (index, row)),
            marked: index == 0,
        }
    });
    page.rich_table(&QUALITY_HEADER, &[7], &rows.collect::<Vec<_>>());
    page.paragraph(
        "◆: no other model is both smaller and better, in perplexity or in divergence. Bold: the base, which the others \
         are compared with token by token. Below each mean its standard error, as if tokens were independent; that of ln p \
         less that of the base is of the pairs. Nats a token.",
    );
}

fn quality_cells(report: &LanguageReport, (index, row): (usize, &LanguageRow)) -> Vec<Cell> {
    let size = Cell::new(bytes(row.weight_bytes));
    let base = report.rows.first().filter(|_| index > 0);
    let compared =
        base.and_then(|base| SIZE.compare(base.weight_bytes as f64, row.weight_bytes as f64));
    let size = match compared {
        Some((words, tone)) => size.note(words, tone),
        None => size,
    };
    let nothing = || Cell::absent(NOT_MEASURED);
    let perplexity = row.quality.map(|quality| estimate(quality.perplexity, 1.0));
    let against = |of: fn(&AgainstBase) -> Estimate, scale: f64| match (&row.against, index) {
        (Some(found), _) => estimate(of(found), scale),
        (None, 0) => Cell::new("—"),
        (None, _) => nothing(),
    };
    let divergence = match row.against {
        Some(found) => {
            let note = format!(
                "± {}; median {}, 99 % {}, largest {}",
                error(found.divergence.standard_error),
                number(found.median_divergence),
                number(found.divergence_of_99_percent),
                number(found.largest_divergence)
            );
            Cell::new(number(found.divergence.value)).note(note, Tone::Plain)
        }
        None => against(|one| one.divergence, 1.0),
    };
    let made_by = row.made_by.as_deref().unwrap_or("no receipt");
    vec![
        size,
        Cell::new(format!("{:.2}", row.bits_per_weight)),
        perplexity.unwrap_or_else(nothing),
        against(|one| one.log_likelihood_difference, 1.0),
        divergence,
        against(|one| one.same_top_token, 100.0),
        Cell::new(made_by).note(row.format.clone(), Tone::Plain),
    ]
}

/// A mean with its standard error below.
fn estimate(one: Estimate, scale: f64) -> Cell {
    let unit = if scale == 100.0 { " %" } else { "" };
    let value = scale * one.value;
    let note = format!("± {}{unit}", error(scale * one.standard_error));
    Cell::new(format!("{}{unit}", shown(value))).note(note, Tone::Plain)
}

/// Five digits, which differences of perplexity need.
fn shown(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if (0.1..1e5).contains(&size) => format!("{value:.4}"),
        _ => number(value),
    }
}

fn error(value: f64) -> String {
    match value.is_finite() {
        true => number(value),
        false => "not known".to_owned(),
    }
}

fn add_speed(page: &mut Page, report: &LanguageReport) {
    page.heading("How fast each is");
    let Some(timed) = report.timed else {
        page.paragraph(&format!("Speed was {NOT_MEASURED}."));
        return;
    };
    let rows = report.rows.iter().enumerate().map(|(index, row)| Row {
        name: Cell::new(&row.name),
        cells: speed_cells(row.speed.as_ref()),
        marked: index == 0,
    });
    page.rich_table(&SPEED_HEADER, &[], &rows.collect::<Vec<_>>());
    page.paragraph(&format!(
        "Reading {} tokens at once, then writing {} one by one; the median of {}, below it the least and the largest. One \
         model was on the device at a time, with all of its runs in a row. All on {}. Energy: {NOT_MEASURED}.",
        timed.prompt_tokens,
        timed.new_tokens,
        match timed.repeat {
            1 => "1 run".to_owned(),
            n => format!("{n} runs"),
        },
        report.device
    ));
}

fn speed_cells(speed: Option<&TextSpeed>) -> Vec<Cell> {
    let Some(speed) = speed else {
        return vec![Cell::absent(NOT_MEASURED); SPEED_HEADER.len() - 1];
    };
    let rate = |one: Spread| {
        let note = format!("{:.1} to {:.1}", one.low, one.high);
        Cell::new(format!("{:.1}", one.median)).note(note, Tone::Plain)
    };
    let known = |text: Option<String>| text.map_or_else(|| Cell::absent(NOT_MEASURED), Cell::new);
    vec![
        rate(speed.prefill),
        rate(speed.decode),
        known(speed.submissions_per_token.map(number)),
        Cell::new(bytes(speed.cache_bytes)),
        known(speed.peak_device_bytes.map(bytes)),
    ]
}

fn add_files(page: &mut Page, report: &LanguageReport) {
    page.heading("What each is");
    let rows = report.rows.iter().map(|row| {
        vec![
            row.name.clone(),
            row.file.clone(),
            row.format.clone(),
            thousands(row.parameters as f64),
            row.kv.clone(),
            row.activations.clone(),
            row.sha256.clone(),
        ]
    });
    page.table(&FILES_HEADER, &rows.collect::<Vec<_>>());
}

fn add_origin(page: &mut Page, report: &LanguageReport) {
    page.heading("Where this comes from");
    let text = &report.text;
    let rows = [
        ("device", report.device.clone()),
        ("driver", report.driver.clone()),
        ("text", text.file.clone()),
        ("SHA-256 of the text", text.sha256.clone()),
        ("tokens read of it", text.tokens.to_string()),
        ("seed", "none: nothing is random".to_owned()),
        ("energy", NOT_MEASURED.to_owned()),
        ("made by", format!("lapidary {}", env!("CARGO_PKG_VERSION"))),
    ];
    let rows = rows.map(|(what, which)| vec![what.to_owned(), which]);
    page.table(&["what", "which"], &rows);
    page.heading("Command");
    page.preformatted(&report.command);
}
