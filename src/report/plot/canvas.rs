//! A picture being drawn. Lines and bars are plotters' own. Over them comes what it has no form for:
//! markers, text with a halo, and text that says more on hovering. So all text that comes from outside
//! is written here, because plotters knows no `<title>`.

use std::fmt::Write as _;
use std::io;

use plotters::chart::ChartContext;
use plotters::coord::cartesian::Cartesian2d;
use plotters::drawing::DrawingAreaErrorKind;
use plotters::element::{PathElement, Rectangle};
use plotters::prelude::SVGBackend;
use plotters::style::{Color as _, RGBColor, ShapeStyle};

use super::scale::Scale;
use crate::report::palette::{Color, INK, PAPER};
use crate::report::text;

/// Font size of everything but the title.
pub(super) const FONT: f64 = 12.5;

/// Width of bold text beside that of other text.
const BOLD_WIDTH: f64 = 1.12;

/// Why plotters could not draw, which into a string it always can.
pub(super) type DrawError = DrawingAreaErrorKind<io::Error>;

/// A picture being drawn. Values are in the units of the axes, positions in pixels.
pub(super) struct Canvas<'a, 'b> {
    chart: ChartContext<'a, SVGBackend<'b>, Cartesian2d<Scale, Scale>>,
    overlay: String,
}

impl<'a, 'b> Canvas<'a, 'b> {
    pub(super) fn new(chart: ChartContext<'a, SVGBackend<'b>, Cartesian2d<Scale, Scale>>) -> Self {
        Canvas {
            chart,
            overlay: String::new(),
        }
    }

    /// What is to be added to what plotters drew.
    pub(super) fn into_overlay(self) -> String {
        self.overlay
    }

    /// Where plotters draws a pair of values.
    #[cfg(test)]
    pub(super) fn position(&self, value: &(f64, f64)) -> (i32, i32) {
        self.chart.backend_coord(value)
    }

    /// A line through values.
    pub(super) fn line(
        &mut self,
        values: Vec<(f64, f64)>,
        color: Color,
        stroke_width: u32,
    ) -> Result<(), DrawError> {
        let style = ShapeStyle::from(rgb(color)).stroke_width(stroke_width);
        let path = PathElement::new(values, style);
        self.chart.plotting_area().draw(&path)
    }

    /// A filled rectangle between two corners.
    pub(super) fn bar(
        &mut self,
        corner: (f64, f64),
        opposite: (f64, f64),
        color: Color,
    ) -> Result<(), DrawError> {
        let bar = Rectangle::new([corner, opposite], rgb(color).filled());
        self.chart.plotting_area().draw(&bar)
    }

    /// A filled rectangle between two corners, of a colour from nothing (0) to full (1).
    pub(super) fn shade(
        &mut self,
        corner: (f64, f64),
        opposite: (f64, f64),
        color: Color,
        share: f64,
    ) -> Result<(), DrawError> {
        let bar = Rectangle::new([corner, opposite], rgb(color).mix(share).filled());
        self.chart.plotting_area().draw(&bar)
    }

    /// A line between two positions.
    pub(super) fn leader(
        &mut self,
        (from_x, from_y): (f64, f64),
        (to_x, to_y): (f64, f64),
        color: Color,
        stroke_width: u32,
    ) {
        self.push(format_args!(
            "<line x1=\"{from_x:.1}\" y1=\"{from_y:.1}\" x2=\"{to_x:.1}\" y2=\"{to_y:.1}\" \
             stroke=\"{color}\" stroke-width=\"{stroke_width}\"/>\n"
        ));
    }

    /// A marker at a position, with a rim of background that tells it from others.
    pub(super) fn marker(&mut self, position: (f64, f64), shape: Marker, color: Color) {
        self.titled_marker(position, shape, color, "");
    }

    /// A marker that says more on hovering.
    pub(super) fn titled_marker(
        &mut self,
        (x, y): (f64, f64),
        shape: Marker,
        color: Color,
        title: &str,
    ) {
        let path = match shape {
            Marker::Circle => "M-4.5,0a4.5,4.5 0 1,0 9,0a4.5,4.5 0 1,0 -9,0z",
            Marker::Square => "M-4,-4h8v8h-8z",
            Marker::Triangle => "M0,-5.5L5,4H-5z",
            Marker::Diamond => "M0,-5.5L5.5,0L0,5.5L-5.5,0z",
        };
        self.push(format_args!(
            "<path transform=\"translate({x:.1},{y:.1})\" d=\"{path}\" fill=\"{color}\" \
             stroke=\"{PAPER}\""
        ));
        if title.is_empty() {
            self.push(format_args!("/>\n"));
        } else {
            let title = text::escape(title);
            self.push(format_args!("><title>{title}</title></path>\n"));
        }
    }

    /// Writes a text at a position, shortened to its room; then hovering shows all of it.
    pub(super) fn text(&mut self, (x, y): (f64, f64), text: &Text<'_>) {
        if text.content.is_empty() {
            return;
        }
        let wider = if text.bold { BOLD_WIDTH } else { 1.0 };
        let short = text::shorten(text.content, text.room / wider, text.font_size);
        let shown = text::escape(short.as_deref().unwrap_or(text.content));
        let title = short.map_or_else(String::new, |_| {
            format!("<title>{}</title>", text::escape(text.content))
        });
        let anchor = match text.anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let turn = if text.degrees == 0.0 {
            String::new()
        } else {
            format!(" transform=\"rotate({:.2} {x:.1} {y:.1})\"", text.degrees)
        };
        let weight = if text.bold {
            " font-weight=\"600\""
        } else {
            ""
        };
        let place = format!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" dy=\"0.35em\" text-anchor=\"{anchor}\" \
             font-family=\"sans-serif\" font-size=\"{}\"{weight}{turn}",
            text.font_size
        );
        if text.halo {
            // An element of its own, because not every viewer paints an outline below its text.
            self.push(format_args!(
                "{place} fill=\"{PAPER}\" stroke=\"{PAPER}\" stroke-width=\"3\" \
                 stroke-linejoin=\"round\" aria-hidden=\"true\">{shown}</text>\n"
            ));
        }
        self.push(format_args!(
            "{place} fill=\"{}\">{title}{shown}</text>\n",
            text.color
        ));
    }

    fn push(&mut self, element: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = self.overlay.write_fmt(element);
    }
}

/// Form of a marker.
#[derive(Debug, Clone, Copy)]
pub(super) enum Marker {
    Circle,
    Square,
    Triangle,
    Diamond,
}

impl Marker {
    pub(super) const ALL: [Marker; 4] = [
        Marker::Circle,
        Marker::Square,
        Marker::Triangle,
        Marker::Diamond,
    ];
}

/// Which part of a text is at its position.
#[derive(Debug, Clone, Copy)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// A text and how it looks.
#[derive(Debug, Clone)]
pub(super) struct Text<'a> {
    pub(super) content: &'a str,
    /// Width it may have, in pixels.
    pub(super) room: f64,
    pub(super) font_size: f64,
    pub(super) color: Color,
    pub(super) anchor: Anchor,
    pub(super) bold: bool,
    /// Whether it stands on lines and needs a rim of background.
    pub(super) halo: bool,
    /// Turned clockwise.
    pub(super) degrees: f64,
}

impl Text<'_> {
    pub(super) fn new(content: &str, room: f64) -> Text<'_> {
        Text {
            content,
            room,
            font_size: FONT,
            color: INK,
            anchor: Anchor::Start,
            bold: false,
            halo: false,
            degrees: 0.0,
        }
    }
}

pub(super) fn rgb(color: Color) -> RGBColor {
    let (red, green, blue) = color.rgb();
    RGBColor(red, green, blue)
}
