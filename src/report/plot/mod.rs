//! Plots: plain data in, one SVG text out.
//!
//! An SVG stands alone: it names no font but the generic `sans-serif`, holds no script and refers to
//! nothing outside itself. Every label may be any text. What cannot be drawn as asked is an error that
//! names it; nothing is left out silently.

mod bars;
mod canvas;
mod frame;
mod histogram;
mod legend;
mod lines;
mod matrix;
mod place;
mod roofline;
mod roofline_labels;
mod scale;
mod tradeoff;
mod trials;

pub use bars::{Bar, Bars, bars};
pub use histogram::{Counts, Histograms, histograms};
pub use lines::{Axis, Lines, Series, lines};
pub(super) use matrix::narrow_matrix;
pub use matrix::{Matrix, matrix};
pub use roofline::{ComputeRoof, MemoryRoof, Point, Roofline, roofline};
pub use tradeoff::{Tradeoff, Version, tradeoff};
pub use trials::{Trials, trials};

use thiserror::Error;

/// Why a plot could not be drawn.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum PlotError {
    /// Nothing to draw.
    #[error("{plot}: there are no {what}")]
    Empty {
        /// The plot's title.
        plot: String,
        /// What is missing.
        what: String,
    },
    /// More than can be told apart.
    #[error("{plot}: {count} {what} in one plot, at most {most} can be told apart")]
    TooMany {
        /// The plot's title.
        plot: String,
        /// What there is too much of.
        what: String,
        /// How many there are.
        count: usize,
        /// How many there may be.
        most: usize,
    },
    /// A value that has no place on any axis: infinite, not a number, or of absurd size.
    #[error("{plot}: {label} is {value}, which has no place on an axis")]
    NoPlace {
        /// The plot's title.
        plot: String,
        /// Which value of what.
        label: String,
        /// The value.
        value: f64,
    },
    /// A value that has no place on a logarithmic axis.
    #[error("{plot}: {label} is {value}, and a logarithmic axis shows only what is above zero")]
    NotPositive {
        /// The plot's title.
        plot: String,
        /// Which value of what.
        label: String,
        /// The value.
        value: f64,
    },
    /// Whiskers that do not hold their value.
    #[error("{plot}: {label} is {value}, outside of its range from {low} to {high}")]
    Whiskers {
        /// The plot's title.
        plot: String,
        /// The bar.
        label: String,
        /// Its value.
        value: f64,
        /// Lower end of its whisker.
        low: f64,
        /// Upper end of its whisker.
        high: f64,
    },
    /// Another number of counts than a matrix has cells.
    #[error("{plot}: {count} counts for {needed} cells")]
    Count {
        /// The plot's title.
        plot: String,
        /// How many there are.
        count: usize,
        /// How many there must be.
        needed: usize,
    },
    /// The drawing library refused.
    #[error("{plot}: cannot be drawn: {reason}")]
    Drawing {
        /// The plot's title.
        plot: String,
        /// The library's reason.
        reason: String,
    },
}

/// Checks the input of one plot; every error carries the plot's title.
struct Checks<'a> {
    plot: &'a str,
}

impl Checks<'_> {
    fn count(&self, what: &str, count: usize, most: usize) -> Result<(), PlotError> {
        let (plot, what) = (self.plot.to_owned(), what.to_owned());
        if count == 0 {
            return Err(PlotError::Empty { plot, what });
        }
        if count > most {
            return Err(PlotError::TooMany {
                plot,
                what,
                count,
                most,
            });
        }
        Ok(())
    }

    /// A value for a linear axis.
    fn linear(&self, label: impl Fn() -> String, value: f64) -> Result<(), PlotError> {
        if value.abs() <= scale::LARGEST {
            return Ok(());
        }
        Err(PlotError::NoPlace {
            plot: self.plot.to_owned(),
            label: label(),
            value,
        })
    }

    /// A value for a logarithmic axis.
    fn log(&self, label: impl Fn() -> String, value: f64) -> Result<(), PlotError> {
        self.linear(&label, value)?;
        let plot = self.plot.to_owned();
        if value <= 0.0 {
            let label = label();
            return Err(PlotError::NotPositive { plot, label, value });
        }
        if value < 1.0 / scale::LARGEST {
            let label = label();
            return Err(PlotError::NoPlace { plot, label, value });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
