//! The legend below a plot: entries in as many columns as show every label whole.

use super::canvas::{Anchor, Canvas, FONT, Marker, Text};
use super::frame::{BORDER, LINE, WIDTH};
use crate::report::palette::{Color, MUTED};
use crate::report::text::width;

/// What stands before an entry's label.
#[derive(Debug, Clone)]
pub(super) enum Sign {
    /// A marker and the number that stands beside it in the plot.
    Numbered(usize, Color),
    /// A marker alone.
    Marker(Marker, Color),
    /// A line.
    Line(Color),
    /// A line with markers.
    Marked(Marker, Color),
}

/// One line of the legend.
#[derive(Debug, Clone)]
pub(super) struct Entry<'a> {
    pub(super) sign: Sign,
    pub(super) label: &'a str,
    /// Text at the right end, such as numbers.
    pub(super) value: String,
    pub(super) bold: bool,
}

/// Entries in columns, filled from top to bottom.
#[derive(Debug)]
pub(super) struct Legend<'a> {
    entries: Vec<Entry<'a>>,
    n_columns: usize,
    total_width: f64,
}

const SIGN_WIDTH: f64 = 44.0;
const VALUE_GAP: f64 = 16.0;
const COLUMN_GAP: f64 = 28.0;
const MOST_COLUMNS: usize = 4;

impl<'a> Legend<'a> {
    /// Below a picture of the whole width.
    pub(super) fn new(entries: Vec<Entry<'a>>) -> Legend<'a> {
        Self::below(WIDTH, entries)
    }

    /// Below a picture of this width.
    pub(super) fn below(picture_width: u32, entries: Vec<Entry<'a>>) -> Legend<'a> {
        let total_width = f64::from(picture_width - 2 * BORDER);
        let widest = entries.iter().map(Entry::width).fold(0.0, f64::max);
        let n_columns = (1..=MOST_COLUMNS)
            .rev()
            .find(|n_columns| widest <= column_width(total_width, *n_columns))
            .unwrap_or(1);
        Legend {
            entries,
            n_columns,
            total_width,
        }
    }

    pub(super) fn height(&self) -> u32 {
        LINE * self.n_rows() as u32
    }

    fn n_rows(&self) -> usize {
        self.entries.len().div_ceil(self.n_columns)
    }

    /// Draws the legend; `top` is the middle of its first line.
    pub(super) fn draw(&self, canvas: &mut Canvas<'_, '_>, top: f64) {
        let column_width = column_width(self.total_width, self.n_columns);
        for (index, entry) in self.entries.iter().enumerate() {
            let (column, row) = (index / self.n_rows(), index % self.n_rows());
            let left = f64::from(BORDER) + column as f64 * (column_width + COLUMN_GAP);
            let y = top + row as f64 * f64::from(LINE);
            entry.draw(canvas, left, column_width, y);
        }
    }
}

fn column_width(total_width: f64, n_columns: usize) -> f64 {
    let n = n_columns as f64;
    (total_width - (n - 1.0) * COLUMN_GAP) / n
}

impl Entry<'_> {
    fn width(&self) -> f64 {
        SIGN_WIDTH + width(self.label, FONT) + self.value_width()
    }

    fn value_width(&self) -> f64 {
        if self.value.is_empty() {
            0.0
        } else {
            VALUE_GAP + width(&self.value, FONT)
        }
    }

    fn draw(&self, canvas: &mut Canvas<'_, '_>, left: f64, column_width: f64, y: f64) {
        self.sign.draw(canvas, left, y);
        let room = column_width - SIGN_WIDTH - self.value_width();
        let label = Text {
            bold: self.bold,
            ..Text::new(self.label, room)
        };
        canvas.text((left + SIGN_WIDTH, y), &label);
        if !self.value.is_empty() {
            let value = Text {
                anchor: Anchor::End,
                color: MUTED,
                ..Text::new(&self.value, f64::INFINITY)
            };
            canvas.text((left + column_width, y), &value);
        }
    }
}

impl Sign {
    fn draw(&self, canvas: &mut Canvas<'_, '_>, left: f64, y: f64) {
        match self {
            Sign::Numbered(number, color) => {
                canvas.marker((left + 6.0, y), Marker::Circle, *color);
                let number = number.to_string();
                let number = Text {
                    anchor: Anchor::End,
                    ..Text::new(&number, f64::INFINITY)
                };
                canvas.text((left + SIGN_WIDTH - 8.0, y), &number);
            }
            Sign::Marker(marker, color) => {
                canvas.marker((left + (SIGN_WIDTH - 10.0) / 2.0, y), *marker, *color);
            }
            Sign::Line(color) => {
                canvas.leader((left, y), (left + SIGN_WIDTH - 10.0, y), *color, 2);
            }
            Sign::Marked(marker, color) => {
                canvas.leader((left, y), (left + SIGN_WIDTH - 10.0, y), *color, 2);
                canvas.marker((left + (SIGN_WIDTH - 10.0) / 2.0, y), *marker, *color);
            }
        }
    }
}
