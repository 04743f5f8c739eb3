//! The layers of a version: what each takes, what it lost, and how its weights lie.

use super::pictures;
use super::words::{bytes, percent, thousands};
use crate::compress::outcome::{LayerOutcome, Outcome};
use crate::report::page::Page;
use crate::report::plot::PlotError;
use crate::report::rich::{Cell, Row, Tone};
use crate::report::text::number;

const HEADER: [&str; 6] = ["layer", "shape", "format", "bytes", "zeros", "weight error"];

/// Columns that are text.
const TEXTS: [usize; 2] = [1, 2];

/// Layers of a version whose weights are drawn.
const MOST_DRAWN: usize = 24;

/// Adds the layers of a version.
pub(super) fn add(page: &mut Page, baseline: &Outcome, one: &Outcome) -> Result<(), PlotError> {
    if one.layers.is_empty() {
        page.paragraph("It has no layers with weights.");
        return Ok(());
    }
    page.rich_table(&HEADER, &TEXTS, &rows(baseline, one));
    let drawn: Result<Vec<_>, PlotError> = one
        .layers
        .iter()
        .take(MOST_DRAWN)
        .map(|layer| drawing(find(baseline, layer), layer))
        .collect();
    page.figures(&drawn?.into_iter().flatten().collect::<Vec<_>>());
    if one.layers.len() > MOST_DRAWN {
        page.paragraph(&format!(
            "Weights of the first {MOST_DRAWN} layers are drawn; there are {}.",
            one.layers.len()
        ));
    }
    Ok(())
}

/// The layer of the same name in the baseline.
fn find<'a>(baseline: &'a Outcome, layer: &LayerOutcome) -> Option<&'a LayerOutcome> {
    baseline.layers.iter().find(|one| one.name == layer.name)
}

/// A picture of a layer's weights, unless all of them are zero.
fn drawing(
    before: Option<&LayerOutcome>,
    layer: &LayerOutcome,
) -> Result<Option<(String, String)>, PlotError> {
    let zeros = if layer.sparsity > 0.0 {
        format!(" {} are zero and not drawn.", percent(layer.sparsity))
    } else {
        String::new()
    };
    match pictures::weights(before, layer) {
        Ok(svg) => Ok(Some((format!("Weights of {}.{zeros}", layer.name), svg))),
        Err(PlotError::Empty { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn rows(baseline: &Outcome, one: &Outcome) -> Vec<Row> {
    let errors = one.layers.iter().filter_map(|layer| layer.weight_error);
    let worst_error = errors.fold(0.0, f64::max);
    let largest = one.layers.iter().chain(&baseline.layers);
    let largest = largest.map(|layer| layer.bytes).max().unwrap_or(0);
    one.layers
        .iter()
        .map(|layer| {
            let shape: Vec<String> = layer.shape.iter().map(ToString::to_string).collect();
            let weights = layer.shape.iter().map(|&n| n as f64).product::<f64>();
            let error = match layer.weight_error {
                Some(error) => Cell::new(percent(error)).bar(error / worst_error),
                None if std::ptr::eq(baseline, one) => Cell::absent("it is the baseline"),
                None => Cell::absent("other shape"),
            };
            let size = Cell::new(bytes(layer.bytes)).bar(layer.bytes as f64 / largest as f64);
            let size = match find(baseline, layer).filter(|before| before.bytes > 0) {
                Some(before) if !std::ptr::eq(baseline, one) => {
                    let share = layer.bytes as f64 / before.bytes as f64;
                    size.note(format!("{} of the baseline's", percent(share)), Tone::Plain)
                }
                _ => size,
            };
            let bits = 8.0 * layer.bytes as f64 / weights.max(1.0);
            Row {
                name: Cell::new(&layer.name),
                cells: vec![
                    Cell::new(shape.join(" × "))
                        .note(format!("{} weights", thousands(weights)), Tone::Plain),
                    Cell::new(&layer.format)
                        .note(format!("{} bits each", number(bits)), Tone::Plain),
                    size,
                    Cell::new(percent(layer.sparsity)).bar(layer.sparsity),
                    error,
                ],
                marked: false,
            }
        })
        .collect()
}
