//! What something is worth against what it costs, for several versions of it, and which no other beats.
//!
//! Versions that nothing beats are the Pareto front. They have a marker of their own and are joined by the
//! staircase that bounds what is beaten. Names stand beside the markers, where they cover nothing; if one
//! finds no place, all are numbered and named in the legend.

use super::canvas::{Canvas, DrawError, FONT, Marker, Text};
use super::frame::{BORDER, Frame, LINE, NARROW, left_of};
use super::legend::{Entry, Legend, Sign};
use super::place::{Place, Places};
use super::scale::Scale;
use super::{Checks, PlotError};
use crate::report::palette::{AXIS, BLUE, Color, MUTED, ORANGE, SLATE};
use crate::report::text::{number, width};

/// A plot of worth against cost.
#[derive(Debug, Clone, PartialEq)]
pub struct Tradeoff {
    /// Title of the picture.
    pub title: String,
    /// What less is better of, with its unit. The axis begins at zero unless values are far apart.
    pub cost: String,
    /// What more is better of, with its unit.
    pub worth: String,
    /// Less of the worth is better, as of a loss. Its axis is then logarithmic where values are far apart and all
    /// above zero.
    pub less_is_better: bool,
    /// The versions.
    pub versions: Vec<Version>,
}

/// One version.
#[derive(Debug, Clone, PartialEq)]
pub struct Version {
    /// Its name.
    pub name: String,
    /// Its cost, above zero.
    pub cost: f64,
    /// Its worth.
    pub worth: f64,
    /// Lower end of the worth's interval, at most `worth`.
    pub low: f64,
    /// Upper end, at least `worth`.
    pub high: f64,
    /// Whether no other version beats it.
    pub on_front: bool,
    /// Whether the others are compared with it; its worth is drawn as a line.
    pub is_baseline: bool,
}

const PLOT_HEIGHT: u32 = 340;
const MOST_VERSIONS: usize = 64;
const MARKER_SIZE: f64 = 12.0;
const TEXT_HEIGHT: f64 = 14.0;
/// Above this ratio of costs, the axis is logarithmic.
const FAR_APART: f64 = 30.0;
const FRONT: &str = "no other is better in both";
const BEATEN: &str = "beaten by another";
const BASELINE: &str = "level of the baseline";

/// Draws worth against cost as SVG.
///
/// # Errors
/// [`PlotError::Empty`] without versions, [`PlotError::TooMany`] past 64, [`PlotError::NotPositive`] and
/// [`PlotError::NoPlace`] for numbers without a place on their axis, [`PlotError::Whiskers`] where
/// `low <= worth <= high` is not so.
pub fn tradeoff(tradeoff: &Tradeoff) -> Result<String, PlotError> {
    check(tradeoff)?;
    let versions = &tradeoff.versions;
    let costs = || versions.iter().map(|one| one.cost);
    let dearest = costs().fold(0.0, f64::max);
    let x = if dearest > FAR_APART * costs().fold(f64::INFINITY, f64::min) {
        Scale::log(costs())
    } else {
        // Some room on the right, so that no marker stands on the frame.
        Scale::linear(costs().chain([0.0, dearest * 1.04]))
    };
    let ends = || versions.iter().flat_map(|one| [one.low, one.high]);
    let least = ends().fold(f64::INFINITY, f64::min);
    let is_far_apart = least > 0.0 && ends().fold(0.0, f64::max) > FAR_APART * least;
    let y = match tradeoff.less_is_better && is_far_apart {
        true => Scale::log(ends()),
        false => Scale::linear(ends()),
    };
    let mut frame = Frame {
        width: NARROW,
        title: &tradeoff.title,
        plot_height: PLOT_HEIGHT,
        legend_height: 0,
        left: left_of(&y),
        right: BORDER,
        x,
        x_name: &tradeoff.cost,
        y,
        y_name: &tradeoff.worth,
    };
    let labels = Labels::find(&frame, versions);
    let legend = legend(versions, &labels);
    frame.legend_height = legend.height() + LINE / 2;
    frame.draw(|canvas| {
        draw_front(canvas, &frame, tradeoff)?;
        for version in versions.iter().filter(|one| one.is_baseline) {
            let ends = [frame.x.low(), frame.x.high()].map(|x| (x, version.worth));
            canvas.line(ends.to_vec(), SLATE, 1)?;
        }
        for version in versions {
            draw_whiskers(canvas, &frame, version)?;
        }
        labels.draw(canvas, versions);
        legend.draw(canvas, frame.legend_top());
        Ok(())
    })
}

fn check(tradeoff: &Tradeoff) -> Result<(), PlotError> {
    let checks = Checks {
        plot: &tradeoff.title,
    };
    checks.count("versions", tradeoff.versions.len(), MOST_VERSIONS)?;
    for version in &tradeoff.versions {
        let Version {
            name,
            worth,
            low,
            high,
            ..
        } = version;
        checks.log(|| format!("the cost of `{name}`"), version.cost)?;
        for value in [*worth, *low, *high] {
            checks.linear(|| format!("the worth of `{name}`"), value)?;
        }
        if !(low <= worth && worth <= high) {
            return Err(PlotError::Whiskers {
                plot: tradeoff.title.clone(),
                label: format!("`{name}`"),
                value: *worth,
                low: *low,
                high: *high,
            });
        }
    }
    Ok(())
}

/// Marker and colour of a version.
fn sign(version: &Version) -> (Marker, Color) {
    if version.on_front {
        (Marker::Diamond, ORANGE)
    } else {
        (Marker::Circle, BLUE)
    }
}

/// Draws the staircase below which, or above which where less is better, everything is beaten.
fn draw_front(
    canvas: &mut Canvas<'_, '_>,
    frame: &Frame<'_>,
    tradeoff: &Tradeoff,
) -> Result<(), DrawError> {
    let nothing = match tradeoff.less_is_better {
        true => frame.y.high(),
        false => frame.y.low(),
    };
    let steps = staircase(&tradeoff.versions, nothing, frame.x.high());
    canvas.line(steps, ORANGE, 1)
}

/// Its corners, from the worth that costs nothing to the dearest cost.
fn staircase(versions: &[Version], nothing: f64, dearest: f64) -> Vec<(f64, f64)> {
    let front = versions.iter().filter(|one| one.on_front);
    let mut corners: Vec<(f64, f64)> = front.map(|one| (one.cost, one.worth)).collect();
    corners.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let mut steps: Vec<(f64, f64)> = Vec::new();
    for (cost, worth) in corners {
        let before = steps.last().map_or(nothing, |&(_, before)| before);
        steps.extend([(cost, before), (cost, worth)]);
    }
    steps.extend(steps.last().map(|&(_, worth)| (dearest, worth)));
    steps
}

fn draw_whiskers(
    canvas: &mut Canvas<'_, '_>,
    frame: &Frame<'_>,
    version: &Version,
) -> Result<(), DrawError> {
    if version.low == version.high {
        return Ok(());
    }
    let ends = [version.low, version.high];
    canvas.line(ends.map(|end| (version.cost, end)).to_vec(), AXIS, 1)?;
    for end in ends {
        let (x, y) = frame.position((version.cost, end));
        canvas.leader((x - 4.0, y), (x + 4.0, y), AXIS, 1);
    }
    Ok(())
}

/// Where markers stand, and what stands beside them.
struct Labels {
    positions: Vec<(f64, f64)>,
    places: Vec<Place>,
    /// Numbers instead of names.
    numbered: bool,
}

impl Labels {
    fn find(frame: &Frame<'_>, versions: &[Version]) -> Labels {
        let position = |one: &Version| frame.position((one.cost, one.worth));
        let positions: Vec<(f64, f64)> = versions.iter().map(position).collect();
        let mut taken = Places::within(frame.area());
        taken.take(
            positions
                .iter()
                .map(|&position| Place::around(position, MARKER_SIZE, MARKER_SIZE)),
        );
        let whiskers = versions.iter().map(|one| {
            let (x, top) = frame.position((one.cost, one.high));
            let (_, bottom) = frame.position((one.cost, one.low));
            Place::around((x, (top + bottom) / 2.0), 8.0, bottom - top)
        });
        taken.take(whiskers);
        let names = versions.iter().map(|one| one.name.clone());
        let numbers = (1..=versions.len()).map(|number| number.to_string());
        let found = Self::places(&taken, &positions, names);
        let numbered = found.is_none();
        let places = found
            .or_else(|| Self::places(&taken, &positions, numbers))
            .unwrap_or_default();
        Labels {
            positions,
            places,
            numbered,
        }
    }

    /// A place for each text, or none where one finds none.
    fn places(
        taken: &Places,
        positions: &[(f64, f64)],
        texts: impl Iterator<Item = String>,
    ) -> Option<Vec<Place>> {
        let mut taken = taken.clone();
        let mut place = |(&position, text): (&(f64, f64), String)| {
            taken.near(position, width(&text, FONT) + 2.0, TEXT_HEIGHT)
        };
        positions.iter().zip(texts).map(&mut place).collect()
    }

    fn draw(&self, canvas: &mut Canvas<'_, '_>, versions: &[Version]) {
        for (&(x, y), place) in self.positions.iter().zip(&self.places) {
            // To the nearest point of the text.
            let near = (
                x.clamp(place.left, place.right),
                y.clamp(place.top, place.bottom),
            );
            if (near.0 - x).hypot(near.1 - y) > 2.0 * MARKER_SIZE {
                canvas.leader((x, y), near, AXIS, 1);
            }
        }
        for (&position, version) in self.positions.iter().zip(versions) {
            let (marker, color) = sign(version);
            let title = format!(
                "{}: {} at {}",
                version.name,
                number(version.worth),
                number(version.cost)
            );
            canvas.titled_marker(position, marker, color, &title);
        }
        for (index, (place, version)) in self.places.iter().zip(versions).enumerate() {
            let number = (index + 1).to_string();
            let content = if self.numbered {
                &number
            } else {
                &version.name
            };
            let text = Text {
                bold: version.is_baseline && self.numbered,
                color: if version.on_front {
                    sign(version).1
                } else {
                    MUTED
                },
                halo: true,
                ..Text::new(content, f64::INFINITY)
            };
            canvas.text((place.left + 1.0, place.center().1), &text);
        }
    }
}

/// What the markers mean, and what numbers stand for where there are any.
fn legend<'a>(versions: &'a [Version], labels: &Labels) -> Legend<'a> {
    let plain = |sign, label| Entry {
        sign,
        label,
        value: String::new(),
        bold: false,
    };
    let mut entries = vec![plain(Sign::Marked(Marker::Diamond, ORANGE), FRONT)];
    if versions.iter().any(|one| !one.on_front) {
        entries.push(plain(Sign::Marker(Marker::Circle, BLUE), BEATEN));
    }
    if versions.iter().any(|one| one.is_baseline) {
        entries.push(plain(Sign::Line(SLATE), BASELINE));
    }
    if labels.numbered {
        for (index, version) in versions.iter().enumerate() {
            let color = sign(version).1;
            entries.push(plain(Sign::Numbered(index + 1, color), &version.name));
        }
    }
    Legend::below(NARROW, entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(name: &str, cost: f64, worth: f64, on_front: bool) -> Version {
        Version {
            name: name.to_owned(),
            cost,
            worth,
            low: worth - 1.0,
            high: worth + 1.0,
            on_front,
            is_baseline: name == "baseline",
        }
    }

    fn example(versions: Vec<Version>) -> Tradeoff {
        Tradeoff {
            title: "Accuracy against size".to_owned(),
            cost: "KiB".to_owned(),
            worth: "accuracy, %".to_owned(),
            less_is_better: false,
            versions,
        }
    }

    #[test]
    fn versions_that_nothing_beats_have_their_own_marker() {
        let svg = tradeoff(&example(vec![
            version("baseline", 400.0, 88.0, true),
            version("int8", 100.0, 87.0, true),
            version("<worse>", 200.0, 80.0, false),
        ]))
        .expect("three versions");
        let markers = |color: Color| {
            let filled = format!("fill=\"{color}\" stroke=\"#FFFFFF\"><title>");
            svg.matches(&filled).count()
        };
        assert_eq!((markers(ORANGE), markers(BLUE)), (2, 1));
        for shown in [FRONT, BEATEN, BASELINE, "&lt;worse&gt;: 80 at 200"] {
            assert!(svg.contains(shown), "{shown}");
        }
        assert!(svg.contains(">int8</text>"));
    }

    #[test]
    fn the_staircase_comes_from_above_where_less_is_better() {
        let losses = [
            version("int8", 100.0, 24.0, true),
            version("int4", 50.0, 27.0, true),
            version("nearest", 50.0, 31.0, false),
        ];
        let steps = [(50.0, 40.0), (50.0, 27.0), (100.0, 27.0), (100.0, 24.0)];
        let found = staircase(&losses, 40.0, 120.0);
        assert_eq!(found, [&steps[..], &[(120.0, 24.0)]].concat());
        let drawn = |less_is_better| {
            let example = example(losses.to_vec());
            tradeoff(&Tradeoff {
                less_is_better,
                ..example
            })
        };
        assert_ne!(drawn(true), drawn(false));
    }

    #[test]
    fn names_without_a_place_become_numbers() {
        let long = "a rather long name of a version ".repeat(2);
        let crowd: Vec<Version> = (0..20)
            .map(|index| version(&format!("{long}{index}"), 100.0, 80.0, true))
            .collect();
        let svg = tradeoff(&example(crowd)).expect("twenty versions");
        for number in 1..=20 {
            // In the plot and in the legend.
            let shown = svg.matches(&format!(">{number}</text>")).count();
            assert!(shown >= 2, "{number}: {shown}");
        }
    }

    #[test]
    fn labels_cover_neither_markers_nor_each_other() {
        let versions: Vec<Version> = (0..8)
            .map(|index| {
                let step = f64::from(index);
                version(
                    &format!("version {index}"),
                    100.0 + step,
                    80.0 + 0.1 * step,
                    true,
                )
            })
            .collect();
        let y = Scale::linear([78.0, 82.0]);
        let frame = Frame {
            width: NARROW,
            title: "t",
            plot_height: PLOT_HEIGHT,
            legend_height: 0,
            left: left_of(&y),
            right: BORDER,
            x: Scale::linear([0.0, 120.0]),
            x_name: "",
            y,
            y_name: "",
        };
        let labels = Labels::find(&frame, &versions);
        assert_eq!(labels.places.len(), versions.len());
        let overlap = |a: &Place, b: &Place| {
            a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom
        };
        for (index, place) in labels.places.iter().enumerate() {
            let others = &labels.places[..index];
            assert!(others.iter().all(|other| !overlap(place, other)));
            for &position in &labels.positions {
                let marker = Place::around(position, MARKER_SIZE, MARKER_SIZE);
                assert!(!overlap(place, &marker));
            }
        }
    }

    #[test]
    fn what_has_no_place_is_named() {
        let refused = |versions| {
            tradeoff(&example(versions))
                .expect_err("refused")
                .to_string()
        };
        assert!(refused(vec![]).contains("there are no versions"));
        let free = refused(vec![version("free", 0.0, 1.0, true)]);
        assert!(free.contains("the cost of `free` is 0"), "{free}");
        let lost = refused(vec![version("lost", 1.0, f64::NAN, true)]);
        assert!(lost.contains("the worth of `lost` is NaN"), "{lost}");
        let outside = Version {
            low: 3.0,
            ..version("outside", 1.0, 2.0, true)
        };
        assert!(refused(vec![outside]).contains("outside of its range"));
    }
}
