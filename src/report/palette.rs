//! The colours of plots. Plots are drawn in the light ones; a page that is read in the dark replaces
//! each by its dark twin through CSS, which selects on the colour written in the SVG.

use std::fmt;

/// A colour as `0xRRGGBB` on a light background, and its twin on a dark one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Color {
    light: u32,
    dark: u32,
}

const fn color(light: u32, dark: u32) -> Color {
    Color { light, dark }
}

impl Color {
    pub(super) fn rgb(self) -> (u8, u8, u8) {
        let [_, red, green, blue] = self.light.to_be_bytes();
        (red, green, blue)
    }

    /// The twin on a dark background, as CSS writes it.
    pub(super) fn dark(self) -> String {
        format!("#{:06X}", self.dark)
    }
}

/// The light colour in the form plotters writes too, on which the page's CSS depends.
impl fmt::Display for Color {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "#{:06X}", self.light)
    }
}

/// Background of a picture.
pub(super) const PAPER: Color = color(0xFFFFFF, 0x1B1F24);
/// Text.
pub(super) const INK: Color = color(0x1F2933, 0xE4E7EB);
/// Text that explains other text.
pub(super) const MUTED: Color = color(0x5F6C7B, 0x9FB0C0);
/// Axes and marks of no importance.
pub(super) const AXIS: Color = color(0x9AA5B1, 0x6B7785);
/// Grid lines with a number.
pub(super) const GRID: Color = color(0xE1E5EA, 0x333A43);
/// Grid lines between those.
pub(super) const FINE_GRID: Color = color(0xF1F3F5, 0x252A31);

pub(super) const BLUE: Color = color(0x3B6EA8, 0x7FB0E6);
pub(super) const ORANGE: Color = color(0xD9480F, 0xFF8A4C);
pub(super) const TEAL: Color = color(0x0F766E, 0x4FC4B8);
pub(super) const PURPLE: Color = color(0x7A4FA3, 0xB79CE8);
pub(super) const OCHRE: Color = color(0xB7791F, 0xE3B341);
pub(super) const PINK: Color = color(0xB83280, 0xF28CC0);
pub(super) const GREEN: Color = color(0x4D7C0F, 0x9CCC4A);
pub(super) const SLATE: Color = color(0x4A5568, 0xB0BCCB);

/// Colours of series, in order.
pub(super) const SERIES: [Color; 8] = [BLUE, ORANGE, TEAL, PURPLE, OCHRE, PINK, GREEN, SLATE];

/// Every colour a picture can hold.
pub(super) fn all() -> impl Iterator<Item = Color> {
    [PAPER, INK, MUTED, AXIS, GRID, FINE_GRID]
        .into_iter()
        .chain(SERIES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_colors_share_their_light_form() {
        let mut light: Vec<_> = all().map(|color| color.to_string()).collect();
        let n = light.len();
        light.sort();
        light.dedup();
        assert_eq!(light.len(), n);
    }
}
