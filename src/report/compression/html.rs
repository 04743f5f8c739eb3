//! The page: a headline, what can be seen at a glance, pictures, tables, layers, and where it all comes from.

use super::tables::{QUALITY_HEADER, SPEED_HEADER, class_table, quality_rows, speed_rows};
use super::words::{
    NOT_MEASURED, RATE, SIZE, TIME, accuracy_change, accuracy_interval, bytes, milliseconds,
    percent, thousands, verification, verified,
};
use super::{CompressionReport, gained_and_lost, layers, pictures, timed};
use crate::compress::outcome::Outcome;
use crate::report::page::Page;
use crate::report::plot::PlotError;
use crate::report::rich::{Card, Tone};
use crate::report::text::number;

pub(super) fn page(report: &CompressionReport) -> Result<String, PlotError> {
    let mut page = Page::new(&report.title);
    add_summary(&mut page, report);
    add_tradeoffs(&mut page, report)?;
    add_steps(&mut page, report);
    add_layers(&mut page, report)?;
    add_confusion(&mut page, report)?;
    add_verification(&mut page, report);
    add_origin(&mut page, report);
    Ok(page.to_html())
}

fn add_summary(page: &mut Page, report: &CompressionReport) {
    let result = report.result();
    if report.steps.is_empty() {
        page.lead("Nothing was made smaller: this is the baseline alone.");
    } else {
        page.lead(&format!(
            "{}: {}.",
            result.name,
            gained_and_lost(&report.baseline, result)
        ));
    }
    page.cards(&cards(report));
    if !report.notes.is_empty() {
        page.list(&report.notes);
    }
}

/// The result's numbers at a glance.
fn cards(report: &CompressionReport) -> Vec<Card> {
    let (baseline, result) = (&report.baseline, report.result());
    let is_baseline = std::ptr::eq(baseline, result);
    let card = |name: &str, value: String, (note, tone): (String, Tone)| Card {
        name: name.to_owned(),
        value,
        note,
        tone,
    };
    let nothing = || (String::new(), Tone::Plain);
    let size = SIZE.compare(baseline.file_bytes as f64, result.file_bytes as f64);
    let size = size.filter(|_| !is_baseline).map(|(words, tone)| {
        let note = format!("{words}, from {}", bytes(baseline.file_bytes));
        (note, tone)
    });
    let accuracy = if is_baseline {
        nothing()
    } else {
        let (words, tone) = accuracy_change(baseline, result);
        let interval = accuracy_interval(baseline, result);
        (format!("{words}; change within {interval}"), tone)
    };
    let mut cards = vec![
        card(
            "Weights file",
            bytes(result.file_bytes),
            size.unwrap_or_else(nothing),
        ),
        card("Accuracy", percent(result.quality.accuracy.value), accuracy),
    ];
    cards.extend(speed_cards(baseline, result));
    let (verdict, tone) = verified(result);
    let checked = result.verification.as_ref().map(|found| {
        format!(
            "{} operations, worst error {} of its bound",
            found.operations,
            number(found.worst_over_bound)
        )
    });
    cards.push(card(
        "Device against definition",
        verdict,
        (checked.unwrap_or_default(), tone),
    ));
    let energy = (String::new(), Tone::Absent);
    cards.push(card("Energy", NOT_MEASURED.to_owned(), energy));
    cards
}

fn speed_cards(baseline: &Outcome, result: &Outcome) -> [Card; 2] {
    let card = |name: &str, value: Option<String>, compared: Option<(String, Tone)>| {
        let tone = if value.is_some() {
            Tone::Plain
        } else {
            Tone::Absent
        };
        let (note, tone) = compared.unwrap_or((String::new(), tone));
        Card {
            name: name.to_owned(),
            value: value.unwrap_or_else(|| NOT_MEASURED.to_owned()),
            note,
            tone,
        }
    };
    let after = timed(result);
    let before = timed(baseline).filter(|_| !std::ptr::eq(baseline, result));
    let both = || before.zip(after);
    let compared =
        both().and_then(|(before, after)| RATE.compare(before.throughput, after.throughput));
    let rate = after.map(|speed| thousands(speed.throughput));
    let single = both().and_then(|(before, after)| TIME.compare(before.p50_ms, after.p50_ms));
    let time = after.map(|speed| milliseconds(speed.p50_ms));
    [
        card("Samples a second, batch 64", rate, compared),
        card("Latency of one sample, p50", time, single),
    ]
}

fn add_tradeoffs(page: &mut Page, report: &CompressionReport) -> Result<(), PlotError> {
    page.heading("Accuracy against size and latency");
    let meaning = "Whiskers are 95 % intervals. The line is the Pareto front: a version below or right of it \
                   is beaten by another.";
    let size = pictures::accuracy_against_size(report);
    let latency = pictures::accuracy_against_latency(report);
    let mut figures = Vec::new();
    let mut missing = Vec::new();
    match size {
        Ok(svg) => figures.push((meaning.to_owned(), svg)),
        Err(error) => missing.push(unless_too_many(error)?),
    }
    match latency {
        Ok(Some((svg, note))) => figures.push((format!("{meaning}{note}"), svg)),
        Ok(None) => missing.push(format!("Latency was {NOT_MEASURED}.")),
        Err(error) => missing.push(unless_too_many(error)?),
    }
    page.figures(&figures);
    for sentence in missing {
        page.paragraph(&sentence);
    }
    Ok(())
}

/// What the page says where there is too much to draw; every other error remains one.
fn unless_too_many(error: PlotError) -> Result<String, PlotError> {
    match error {
        PlotError::TooMany { what, count, .. } => {
            Ok(format!("There are too many {what} to draw: {count}."))
        }
        error => Err(error),
    }
}

fn add_steps(page: &mut Page, report: &CompressionReport) {
    page.heading("Every step");
    let said = report
        .steps
        .iter()
        .map(|step| format!("{}: {}", step.name, gained_and_lost(&report.baseline, step)));
    let said: Vec<String> = said.collect();
    if !said.is_empty() {
        page.list(&said);
    }
    page.rich_table(&QUALITY_HEADER, &[], &quality_rows(report));
    let samples = report.baseline.quality.samples;
    page.paragraph(&format!(
        "◆: no other version is both smaller and more accurate. Bold: the result. On {} test samples. Intervals \
         hold the true value in 95 of 100 cases: of accuracy by Wilson's score, of its change by Newcombe's, \
         of F1 and AUC by bootstrap.",
        thousands(samples as f64)
    ));
    page.rich_table(&SPEED_HEADER, &[], &speed_rows(report));
    page.paragraph(&format!(
        "◆: no other version is both quicker with one sample and more accurate. p50, p95 and p99: so many of 100 \
         passes of one sample took at most this. All on {}. Energy: {NOT_MEASURED}.",
        report.device
    ));
    let notes = report.versions().flat_map(|one| {
        let note = move |note: &String| format!("{}: {note}", one.name);
        one.notes.iter().map(note)
    });
    let notes: Vec<String> = notes.collect();
    if !notes.is_empty() {
        page.list(&notes);
    }
}

fn add_layers(page: &mut Page, report: &CompressionReport) -> Result<(), PlotError> {
    page.heading("Layer by layer");
    page.paragraph(
        "Weight error is the length of what changed over the length of the baseline's weight. Pictures show where \
         weights lie, before as a shade and after as a line; zeros are left out.",
    );
    if !report.sensitivities.is_empty() {
        match pictures::sensitivities(report) {
            Ok(svg) => {
                page.figure("Accuracy lost when one layer alone is made so.", &svg);
            }
            Err(error) => {
                page.paragraph(&unless_too_many(error)?);
            }
        }
    }
    let result = report.result();
    for one in report.versions() {
        let mut inside = Page::new(&one.name);
        inside.paragraph(&one.network);
        layers::add(&mut inside, &report.baseline, one)?;
        let summary = format!(
            "{}: {} layers, {}",
            one.name,
            one.layers.len(),
            bytes(one.file_bytes)
        );
        page.fold(&summary, std::ptr::eq(one, result), &inside);
    }
    Ok(())
}

fn add_confusion(page: &mut Page, report: &CompressionReport) -> Result<(), PlotError> {
    page.heading("Class by class");
    page.paragraph(
        "The share of each class that is found. A mean hides that one class may pay for all: look for the largest \
         loss.",
    );
    if report
        .versions()
        .any(|one| one.quality.confusion.is_empty())
    {
        page.paragraph("There are no counts of classes.");
        return Ok(());
    }
    let (header, rows) = class_table(report);
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    page.rich_table(&header, &[], &rows);
    let mut figures = Vec::new();
    for one in report.versions() {
        match pictures::confusion(report, one) {
            Ok(svg) => {
                let caption = format!(
                    "{}: rows are classes, columns what they were taken for; shade: share of the class.",
                    one.name
                );
                figures.push((caption, svg));
            }
            Err(error) => {
                page.paragraph(&unless_too_many(error)?);
                return Ok(());
            }
        }
    }
    page.figures(&figures);
    Ok(())
}

fn add_verification(page: &mut Page, report: &CompressionReport) {
    page.heading("Verification");
    page.paragraph(
        "Every operation of a forward pass was run on the device and by its definition on the CPU, on the \
         device's own inputs. A bound is derived from the roundings an operation may make; 1 is the limit.",
    );
    let lines: Vec<String> = report.versions().map(verification).collect();
    page.list(&lines);
}

fn add_origin(page: &mut Page, report: &CompressionReport) {
    page.heading("Where this comes from");
    let mut rows = vec![
        vec!["device".to_owned(), report.device.clone()],
        vec!["driver".to_owned(), report.driver.clone()],
        vec!["seed".to_owned(), report.seed.to_string()],
        vec!["energy".to_owned(), NOT_MEASURED.to_owned()],
        vec![
            "SHA-256 of the input".to_owned(),
            report.input_sha256.clone(),
        ],
        vec![
            "SHA-256 of the output".to_owned(),
            report.output_sha256.clone(),
        ],
    ];
    for one in report.versions() {
        rows.push(vec![format!("SHA-256 of {}", one.name), one.sha256.clone()]);
    }
    let version = format!("lapidary {}", env!("CARGO_PKG_VERSION"));
    rows.push(vec!["made by".to_owned(), version]);
    page.table(&["what", "which"], &rows);
    page.paragraph("The receipt of each version is receipt.json in its folder.");
    page.heading("Recipe");
    if report.created_from.trim().is_empty() {
        page.paragraph("There is no recipe.");
    } else {
        page.preformatted(&report.created_from);
    }
}
