//! Where the names of roofs and the numbers of points stand in a roofline.
//!
//! A roof's name stands along its line, a point's number beside its marker, each at the first place
//! that covers no marker, line or other label. A roof that finds no place is named in the legend.

use super::canvas::{Canvas, FONT, Marker, Text};
use super::frame::Frame;
use super::place::{Place, Places};
use super::roofline::{Point, Roof, RoofKind};
use crate::report::palette::{AXIS, BLUE, Color, INK, ORANGE};
use crate::report::text::width;

const MARKER_SIZE: f64 = 10.0;
const TEXT_HEIGHT: f64 = 14.0;
/// Distance of a name's middle from its line.
const FROM_LINE: f64 = TEXT_HEIGHT / 2.0 + 3.0;
/// Distance of a name from the ends of its line: room for it to stand turned above the lower one.
const FROM_END: f64 = 18.0;

/// Positions of points and places found for labels, in the order of what they label.
pub(super) struct Labels {
    positions: Vec<(f64, f64)>,
    names: Vec<Option<Along>>,
    numbers: Vec<Place>,
}

/// A text along a line: where it starts, and how it is turned clockwise.
#[derive(Debug, Clone, Copy)]
struct Along {
    start: (f64, f64),
    degrees: f64,
}

impl Labels {
    pub(super) fn find(frame: &Frame<'_>, roofs: &[Roof], points: &[Point]) -> Labels {
        let mut places = Places::within(frame.area());
        let positions = points
            .iter()
            .map(|point| frame.position((point.intensity, point.gop_per_s)));
        let positions: Vec<_> = positions.collect();
        places.take(
            positions
                .iter()
                .map(|position| Place::around(*position, MARKER_SIZE, MARKER_SIZE)),
        );
        let segments: Vec<Segment> = roofs
            .iter()
            .map(|roof| Segment::new(frame.position(roof.from), frame.position(roof.to)))
            .collect();
        let names = (0..roofs.len())
            .map(|index| name(&mut places, roofs, &segments, index))
            .collect();
        places.take(segments.iter().flat_map(Segment::line));
        let numbers = positions.iter().enumerate().map(|(index, (x, y))| {
            let width = width(&(index + 1).to_string(), FONT);
            let beside = (x + MARKER_SIZE + width / 2.0, *y);
            places
                .near((*x, *y), width, TEXT_HEIGHT - 2.0)
                .unwrap_or(Place::around(beside, width, TEXT_HEIGHT))
        });
        let numbers = numbers.collect();
        Labels {
            positions,
            names,
            numbers,
        }
    }

    /// Whether the name of a roof found a place.
    pub(super) fn names(&self, roof: usize) -> bool {
        self.names[roof].is_some()
    }

    /// Draws markers, numbers and names.
    pub(super) fn draw(&self, canvas: &mut Canvas<'_, '_>, roofs: &[Roof], points: &[Point]) {
        for (position, number) in self.positions.iter().zip(&self.numbers) {
            let center = number.center();
            let distance = (center.0 - position.0).hypot(center.1 - position.1);
            if distance > 2.0 * MARKER_SIZE {
                canvas.leader(*position, center, AXIS, 1);
            }
        }
        // Highlighted markers last, so that no other covers them.
        for highlighted in [false, true] {
            for (position, point) in self.positions.iter().zip(points) {
                if point.highlighted == highlighted {
                    canvas.marker(*position, Marker::Circle, color(point));
                }
            }
        }
        for (roof, along) in roofs.iter().zip(&self.names) {
            if let Some(along) = along {
                let name = Text {
                    color: roof.kind.color(),
                    degrees: along.degrees,
                    halo: true,
                    ..Text::new(&roof.label, f64::INFINITY)
                };
                canvas.text(along.start, &name);
            }
        }
        for (index, place) in self.numbers.iter().enumerate() {
            let number = (index + 1).to_string();
            let number = Text {
                color: INK,
                halo: true,
                ..Text::new(&number, f64::INFINITY)
            };
            canvas.text((place.left, place.center().1), &number);
        }
    }
}

/// The colour of a point's marker.
pub(super) fn color(point: &Point) -> Color {
    if point.highlighted { ORANGE } else { BLUE }
}

/// Takes a place for the name of a roof: along a diagonal from its lower end, along a horizontal line
/// from its right end, above the line rather than below. No other line passes between a name and the
/// line it names.
fn name(places: &mut Places, roofs: &[Roof], lines: &[Segment], index: usize) -> Option<Along> {
    let (roof, line) = (&roofs[index], &lines[index]);
    let width = width(&roof.label, FONT);
    let last = line.length - width - 2.0 * FROM_END;
    if last < 0.0 {
        return None;
    }
    let candidates = (0..=(last / 12.0) as usize).flat_map(|step| {
        let moved = step as f64 * 12.0;
        let begin = match roof.kind {
            RoofKind::Memory => FROM_END + moved,
            RoofKind::Compute => FROM_END + last - moved,
        };
        [FROM_LINE, -FROM_LINE].map(|side| {
            let along = Along {
                start: line.at(begin, side),
                degrees: line.along.1.atan2(line.along.0).to_degrees(),
            };
            // From the line to the far edge of the text.
            let parts = line.boxes(begin, begin + width, side / 2.0, FROM_LINE);
            let text = line.boxes(begin, begin + width, side, TEXT_HEIGHT);
            (along, [parts, text].concat())
        })
    });
    let mut others = places.clone();
    let other_lines = lines.iter().enumerate().filter(|(i, _)| *i != index);
    others.take(other_lines.flat_map(|(_, line)| line.line()));
    let (along, parts) = others.first_free(candidates)?;
    places.take(parts);
    Some(along)
}

/// A line in the picture, from left to right.
struct Segment {
    from: (f64, f64),
    /// Unit vector along the line.
    along: (f64, f64),
    length: f64,
}

impl Segment {
    fn new(from: (f64, f64), to: (f64, f64)) -> Segment {
        let (dx, dy) = (to.0 - from.0, to.1 - from.1);
        let length = dx.hypot(dy).max(1.0);
        Segment {
            from,
            along: (dx / length, dy / length),
            length,
        }
    }

    /// A position along the line and beside it; positive sides are above.
    fn at(&self, along: f64, side: f64) -> (f64, f64) {
        let (dx, dy) = self.along;
        (
            self.from.0 + dx * along + dy * side,
            self.from.1 + dy * along - dx * side,
        )
    }

    /// Boxes that cover the line.
    fn line(&self) -> Vec<Place> {
        self.boxes(0.0, self.length, 0.0, 2.0)
    }

    /// Boxes that cover a stretch of a band beside the line.
    fn boxes(&self, begin: f64, end: f64, side: f64, height: f64) -> Vec<Place> {
        let step = height.max(4.0);
        let n = ((end - begin) / step).ceil().max(1.0) as usize;
        (0..=n)
            .map(|index| begin + (end - begin) * index as f64 / n as f64)
            .map(|along| Place::around(self.at(along, side), height, height))
            .collect()
    }
}
