//! Small changes to training images that do not change what they show.
//!
//! In this order: a shift by whole pixels, a mirror image, Gaussian noise, and one square cut out
//! (DeVries and Taylor, "Improved regularization of convolutional neural networks with cutout",
//! 2017: the centre anywhere in the image, so that the square may stick out of it).
//!
//! Every draw has a fixed place in the stream of an epoch: sample `i` owns the 2^34 words from
//! `i * 2^34` on, the first eight for geometry, two each for the noise of its elements. So an image
//! changes the same whichever thread makes its batch, whatever the batch size, and turning one
//! change on or off leaves the others as they were.

use super::random::{Purpose, stream};
use super::{DataError, MAX_SAMPLES};
use crate::num::Stream;

/// Words of an epoch's stream that belong to one sample, as a power of two.
const WORDS_PER_SAMPLE_LOG2: u32 = 34;
const _: () = assert!(MAX_SAMPLES as u128 * (1 << WORDS_PER_SAMPLE_LOG2) <= 1 << 64);

/// Where the draws of a sample stand, in words from its first.
const SHIFT: u64 = 0;
const FLIP: u64 = 2;
const CUTOUT: u64 = 4;
const NOISE: u64 = 8;

/// How images are changed. The default changes nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Augmentation {
    /// Pixels by which an image moves at most, up or down and left or right, each as likely.
    pub max_shift: usize,
    /// Probability of a mirror image (left for right).
    pub flip_probability: f32,
    /// Standard deviation of the noise added to every element, in units of the inputs.
    pub noise_std: f32,
    /// Side of the square cut out, in pixels; 0 for none.
    pub cutout_side: usize,
    /// What stands in pixels moved in or cut out, in units of the inputs: black, which after
    /// standardization is not 0.
    pub fill: f32,
}

/// Which image of which epoch: what the random numbers depend on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Occasion {
    pub seed: u64,
    pub epoch: u32,
    /// The row of the sample in its set.
    pub row: u32,
}

/// Planes of `height` rows of `width` elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Image {
    height: usize,
    width: usize,
}

impl Augmentation {
    /// Whether it changes nothing.
    pub fn is_none(&self) -> bool {
        let Self {
            max_shift,
            flip_probability,
            noise_std,
            cutout_side,
            fill: _,
        } = *self;
        max_shift == 0 && flip_probability == 0.0 && noise_std == 0.0 && cutout_side == 0
    }

    /// That it can be applied to samples of `shape`: anything for noise, images for the rest.
    ///
    /// # Errors
    /// [`DataError::NotImages`] for other shapes, [`DataError::OutOfRange`] for a shift or a square
    /// larger than the image, [`DataError::Setting`] for a probability outside of 0 to 1, a
    /// deviation outside of 0 to 1e6, or a fill that is not finite.
    pub fn check(&self, shape: &[usize]) -> Result<(), DataError> {
        let setting = |what, given: f32, allowed, is_allowed| match is_allowed {
            true => Ok(()),
            false => Err(DataError::Setting {
                what,
                given: given.into(),
                allowed,
            }),
        };
        let (flip, noise) = (self.flip_probability, self.noise_std);
        setting(
            "flip probability",
            flip,
            "0 to 1",
            (0.0..=1.0).contains(&flip),
        )?;
        // Up to where no finite input can overflow.
        let is_deviation = (0.0..=1e6).contains(&noise);
        setting("noise deviation", noise, "0 to 1e6", is_deviation)?;
        setting("fill", self.fill, "finite", self.fill.is_finite())?;
        let moves_pixels = self.max_shift > 0 || flip > 0.0 || self.cutout_side > 0;
        if !moves_pixels {
            return Ok(());
        }
        let image = Image::of(shape).ok_or_else(|| DataError::NotImages {
            shape: shape.to_vec(),
        })?;
        let at_most = |what, given, most| match given > most {
            true => Err(DataError::OutOfRange {
                what,
                given,
                least: 0,
                most,
            }),
            false => Ok(()),
        };
        let side = image.height.min(image.width);
        at_most("shift", self.max_shift, side.saturating_sub(1))?;
        at_most(
            "cutout side",
            self.cutout_side,
            image.height.max(image.width),
        )
    }

    /// Changes one sample of `shape`, which [`Augmentation::check`] has allowed.
    pub(super) fn apply(&self, sample: &mut [f32], shape: &[usize], occasion: Occasion) {
        if self.is_none() {
            return;
        }
        let mut draws = Draws {
            stream: stream(occasion.seed, Purpose::Augment, occasion.epoch),
            first: u64::from(occasion.row) << WORDS_PER_SAMPLE_LOG2,
        };
        if let Some(image) = Image::of(shape) {
            self.shift(sample, image, &mut draws);
            self.flip(sample, image, &mut draws);
        }
        if self.noise_std > 0.0 {
            let stream = draws.at(NOISE);
            sample
                .iter_mut()
                .for_each(|x| *x += self.noise_std * stream.normal());
        }
        if let Some(image) = Image::of(shape) {
            self.cut_out(sample, image, &mut draws);
        }
    }

    fn shift(&self, sample: &mut [f32], image: Image, draws: &mut Draws) {
        if self.max_shift == 0 {
            return;
        }
        let stream = draws.at(SHIFT);
        let n_places = 2 * self.max_shift + 1;
        // Where an element comes from, `max_shift` added so that it is not negative.
        let [down, right] = [place(stream, n_places), place(stream, n_places)];
        let from = |to: usize, moved: usize, limit: usize| {
            let from = (to + self.max_shift).checked_sub(moved)?;
            (from < limit).then_some(from)
        };
        for plane in sample.chunks_exact_mut(image.height * image.width) {
            let before = plane.to_vec();
            for (y, row) in plane.chunks_exact_mut(image.width).enumerate() {
                let from_y = from(y, down, image.height);
                for (x, element) in row.iter_mut().enumerate() {
                    let source = from_y.zip(from(x, right, image.width));
                    *element = source.map_or(self.fill, |(y, x)| before[y * image.width + x]);
                }
            }
        }
    }

    fn flip(&self, sample: &mut [f32], image: Image, draws: &mut Draws) {
        if self.flip_probability > 0.0 && draws.at(FLIP).uniform() < self.flip_probability {
            sample
                .chunks_exact_mut(image.width)
                .for_each(<[f32]>::reverse);
        }
    }

    fn cut_out(&self, sample: &mut [f32], image: Image, draws: &mut Draws) {
        if self.cutout_side == 0 {
            return;
        }
        let stream = draws.at(CUTOUT);
        let centre = [place(stream, image.height), place(stream, image.width)];
        let range = |centre: usize, limit: usize| {
            let begin = centre.saturating_sub(self.cutout_side / 2);
            let end = centre + self.cutout_side.div_ceil(2);
            begin..end.min(limit)
        };
        let columns = range(centre[1], image.width);
        for plane in sample.chunks_exact_mut(image.height * image.width) {
            for y in range(centre[0], image.height) {
                plane[y * image.width..][columns.clone()].fill(self.fill);
            }
        }
    }
}

impl Image {
    fn of(shape: &[usize]) -> Option<Self> {
        match *shape {
            [height, width] | [_, height, width] => Some(Self { height, width }),
            _ => None,
        }
    }
}

/// The random numbers of one sample.
struct Draws {
    stream: Stream,
    first: u64,
}

impl Draws {
    fn at(&mut self, word: u64) -> &mut Stream {
        self.stream.seek(self.first + word);
        &mut self.stream
    }
}

/// A number below `limit` from exactly one word, so that later draws keep their place; the bias is
/// below `limit / 2^32`.
fn place(stream: &mut Stream, limit: usize) -> usize {
    ((u64::from(stream.next_u32()) * limit as u64) >> 32) as usize
}

#[cfg(test)]
#[path = "augment_tests.rs"]
mod tests;
