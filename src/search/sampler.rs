//! What to try next.

use serde::Serialize;

use super::parzen::uniform;
use super::{Direction, Domain, SearchError, Space, TpeOptions, Trial, Value, tpe};
use crate::num::Philox;

/// How trials are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Sampler {
    /// Every combination of the points of all dimensions, the last dimension fastest.
    Grid,
    /// Independent draws, even on the scale of each dimension.
    Random,
    /// A tree of Parzen estimators.
    Tpe(TpeOptions),
}

/// What a study is so far.
pub(super) struct Known<'a> {
    pub(super) space: &'a Space,
    pub(super) history: &'a [Trial],
    pub(super) direction: Direction,
    pub(super) seed: u64,
}

impl Sampler {
    /// The values of the next trial: a function of what is known. `None` when there is no other.
    pub(super) fn propose(&self, known: &Known<'_>) -> Result<Option<Vec<Value>>, SearchError> {
        let Known {
            space,
            history,
            direction,
            seed,
        } = *known;
        let number = history.len() as u32;
        // Clear of the streams of data and parameters.
        let id = u64::from(u32::from_be_bytes(*b"hypr")) << 32 | u64::from(number);
        let mut stream = Philox::new(seed).stream(id);
        let draw = |stream: &mut _| {
            let dimensions = space.dimensions().iter();
            let values = dimensions.map(|one| {
                let share = uniform(stream);
                match (&one.domain, one.domain.interval()) {
                    (Domain::Choice(names), _) => {
                        Value::Choice((share * names.len() as f64) as usize)
                    }
                    (domain, Some((low, high))) => domain.at(low + (high - low) * share),
                    (domain, None) => domain.at(share),
                }
            });
            values.collect::<Vec<Value>>()
        };
        match self {
            Self::Grid => Ok(point(&space.grid()?, number)),
            Self::Random => Ok(Some(draw(&mut stream))),
            Self::Tpe(options) => {
                let proposed = tpe::propose(options, space, (history, direction), &mut stream);
                Ok(Some(proposed.unwrap_or_else(|| draw(&mut stream))))
            }
        }
    }
}

/// Point `number` of a grid.
fn point(grid: &[Vec<Value>], number: u32) -> Option<Vec<Value>> {
    let mut rest = number as usize;
    let mut values = Vec::with_capacity(grid.len());
    for points in grid.iter().rev() {
        values.push(points[rest % points.len()]);
        rest /= points.len();
    }
    values.reverse();
    (rest == 0).then_some(values)
}
