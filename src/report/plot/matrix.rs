//! A confusion matrix: how often each of several things was taken for each, as shades with numbers.

use super::canvas::{Anchor, Canvas, DrawError, FONT, Text};
use super::frame::{BORDER, Frame, NARROW, WIDTH};
use super::scale::Scale;
use super::{Checks, PlotError};
use crate::report::palette::{BLUE, INK, PAPER};
use crate::report::text::width;

/// Counts of pairs of names. A row is as dark as its share of the row's sum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matrix {
    /// Title of the picture.
    pub title: String,
    /// What rows are.
    pub row_name: String,
    /// What columns are.
    pub column_name: String,
    /// Names of rows from the top, and of columns from the left.
    pub names: Vec<String>,
    /// `[rows, columns]`, row-major, as many of both as names.
    pub counts: Vec<u64>,
}

/// More have no room for their numbers.
const MOST_NAMES: usize = 32;
const ROW: u32 = 30;
const MOST_LABEL_WIDTH: f64 = 160.0;
/// Shades darker than this have light text.
const DARK: f64 = 0.55;

/// Draws a matrix as SVG.
///
/// # Errors
/// [`PlotError::Empty`] without names, [`PlotError::TooMany`] past 32, [`PlotError::Count`] unless there is
/// a count for each pair.
pub fn matrix(matrix: &Matrix) -> Result<String, PlotError> {
    draw(matrix, WIDTH, &matrix.names, &matrix.names)
}

/// A matrix that stands beside another: columns are numbered, as rows are before their names.
///
/// # Errors
/// As [`matrix`].
pub(in crate::report) fn narrow_matrix(matrix: &Matrix) -> Result<String, PlotError> {
    let rows = matrix.names.iter().enumerate();
    let rows: Vec<String> = rows
        .map(|(index, name)| format!("{index} {name}"))
        .collect();
    let columns: Vec<String> = (0..rows.len()).map(|index| index.to_string()).collect();
    draw(matrix, NARROW, &rows, &columns)
}

fn draw(
    matrix: &Matrix,
    picture_width: u32,
    row_names: &[String],
    column_names: &[String],
) -> Result<String, PlotError> {
    let n = matrix.names.len();
    let checks = Checks {
        plot: &matrix.title,
    };
    checks.count("names", n, MOST_NAMES)?;
    if matrix.counts.len() != n * n {
        return Err(PlotError::Count {
            plot: matrix.title.clone(),
            count: matrix.counts.len(),
            needed: n * n,
        });
    }
    let labels = row_names.iter().map(|name| width(name, FONT));
    let label_width = labels.fold(0.0, f64::max).min(MOST_LABEL_WIDTH);
    let frame = Frame {
        width: picture_width,
        title: &matrix.title,
        plot_height: ROW * n as u32,
        legend_height: 0,
        left: BORDER + label_width as u32 + 32,
        right: BORDER,
        x: Scale::rows(n),
        x_name: &matrix.column_name,
        y: Scale::rows(n),
        y_name: &matrix.row_name,
    };
    frame.draw(|canvas| {
        let rows = matrix.counts.chunks_exact(n).zip(row_names);
        for (row, (counts, name)) in rows.enumerate() {
            draw_row(canvas, &frame, (row, n), (name, counts))?;
        }
        let column = f64::from(frame.width - frame.left - frame.right) / n as f64;
        for (index, name) in column_names.iter().enumerate() {
            let (x, y) = frame.position((index as f64 + 0.5, 0.0));
            let text = Text {
                anchor: Anchor::Middle,
                ..Text::new(name, column - 4.0)
            };
            canvas.text((x, y + 14.0), &text);
        }
        Ok(())
    })
}

fn draw_row(
    canvas: &mut Canvas<'_, '_>,
    frame: &Frame<'_>,
    (row, n): (usize, usize),
    (name, counts): (&str, &[u64]),
) -> Result<(), DrawError> {
    // Rows count from the top, the axis from the bottom.
    let low = (n - 1 - row) as f64;
    let (_, y) = frame.position((0.0, low + 0.5));
    let label = Text {
        anchor: Anchor::End,
        ..Text::new(name, MOST_LABEL_WIDTH)
    };
    canvas.text((frame.area().left - 8.0, y), &label);
    let sum = counts.iter().sum::<u64>().max(1) as f64;
    for (column, &count) in counts.iter().enumerate() {
        let (share, left) = (count as f64 / sum, column as f64);
        canvas.shade((left, low + 1.0), (left + 1.0, low), BLUE, share)?;
        if count > 0 {
            let text = count.to_string();
            let color = if share > DARK { PAPER } else { INK };
            let text = Text {
                anchor: Anchor::Middle,
                color,
                ..Text::new(&text, f64::from(frame.width) / n as f64)
            };
            let (x, _) = frame.position((left + 0.5, low));
            canvas.text((x, y), &text);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(counts: &[u64]) -> Matrix {
        Matrix {
            title: "Confusion".to_owned(),
            row_name: "class".to_owned(),
            column_name: "taken for".to_owned(),
            names: vec!["cat".to_owned(), "<dog>".to_owned()],
            counts: counts.to_vec(),
        }
    }

    #[test]
    fn a_cell_is_as_dark_as_its_share_of_the_row() {
        let svg = matrix(&example(&[3, 1, 0, 7])).expect("two by two");
        for expected in [
            "opacity=\"0.75\"",
            "opacity=\"0.25\"",
            "opacity=\"1\"",
            ">7</text>",
            "&lt;dog&gt;",
        ] {
            assert!(svg.contains(expected), "{expected}: {svg}");
        }
    }

    #[test]
    fn counts_that_are_no_square_are_refused() {
        let refused = matrix(&example(&[1, 2, 3]));
        assert!(matches!(
            refused,
            Err(PlotError::Count {
                count: 3,
                needed: 4,
                ..
            })
        ));
        let none = Matrix {
            names: Vec::new(),
            ..example(&[])
        };
        assert!(matches!(matrix(&none), Err(PlotError::Empty { .. })));
    }
}
