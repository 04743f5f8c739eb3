//! What a schedule may be made of.

use super::Schedule;

/// A refused schedule: the number, its value, and what is allowed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ScheduleError {
    /// A time of 0.
    #[error("schedule: {what} is 0, at least 1 is needed")]
    Zero {
        /// Which time.
        what: &'static str,
    },
    /// A number outside its range.
    #[error("schedule: {what} = {value}; allowed: {allowed}")]
    OutOfRange {
        /// Which number.
        what: &'static str,
        /// Its value.
        value: f64,
        /// What is allowed.
        allowed: &'static str,
    },
    /// Boundaries that do not ascend.
    #[error("schedule: boundary {index} is {value}, not after {before}")]
    NotAscending {
        /// Its index.
        index: usize,
        /// Its value.
        value: u64,
        /// The one before.
        before: u64,
    },
    /// Another number of values than of intervals.
    #[error("schedule: {values} values for {boundaries} boundaries; one more is needed")]
    Values {
        /// Values given.
        values: usize,
        /// Boundaries given.
        boundaries: usize,
    },
    /// A way up that does not end before the whole.
    #[error("schedule: warm-up {warm_up} of {total}; it must be shorter")]
    WarmUp {
        /// Time of the way up.
        warm_up: u64,
        /// Time of the whole.
        total: u64,
    },
}

impl Schedule {
    /// Checks every number. A schedule that passes has a finite rate at every time, unless its factor lets the rate grow
    /// without end.
    ///
    /// # Errors
    /// [`ScheduleError`] for the first one that is not allowed.
    pub fn check(&self) -> Result<(), ScheduleError> {
        match self {
            Self::Constant => Ok(()),
            Self::Step { every, gamma } => {
                time("time between two steps", *every)?;
                decay(*gamma)
            }
            Self::MultiStep { milestones, gamma } => {
                ascending(milestones)?;
                decay(*gamma)
            }
            Self::Exponential { gamma, over } => {
                time("time of the decay", *over)?;
                decay(*gamma)
            }
            Self::Piecewise {
                boundaries, values, ..
            } => {
                ascending(boundaries)?;
                if values.len() != boundaries.len() + 1 {
                    return Err(ScheduleError::Values {
                        values: values.len(),
                        boundaries: boundaries.len(),
                    });
                }
                values.iter().try_for_each(|&value| size("a rate", value))
            }
            Self::Polynomial { total, power, end } => {
                time("total", *total)?;
                factor("power", *power)?;
                size("the last rate", *end)
            }
            Self::Cosine { total, minimum, .. } => {
                time("total", *total)?;
                size("minimum", *minimum)
            }
            Self::Linear { start, end, total } => {
                time("total", *total)?;
                size("the first factor", *start)?;
                size("the last factor", *end)
            }
            Self::WarmUpLinear { warm_up, total } => {
                if warm_up >= total {
                    let (warm_up, total) = (*warm_up, *total);
                    return Err(ScheduleError::WarmUp { warm_up, total });
                }
                Ok(())
            }
            Self::WarmUp { start, then, .. } => {
                size("the first factor", *start)?;
                then.check()
            }
            Self::OneCycle {
                total,
                rise,
                initial_divisor,
                final_divisor,
                ..
            } => {
                time("total", *total)?;
                factor("the first divisor", *initial_divisor)?;
                factor("the last divisor", *final_divisor)?;
                let steps_up = rise * *total as f64;
                if !(steps_up > 1.0 && *rise < 1.0) {
                    return Err(ScheduleError::OutOfRange {
                        what: "share of the way up",
                        value: *rise,
                        allowed: "over 1 / total and below 1",
                    });
                }
                Ok(())
            }
        }
    }
}

fn time(what: &'static str, value: u64) -> Result<(), ScheduleError> {
    if value == 0 {
        return Err(ScheduleError::Zero { what });
    }
    Ok(())
}

fn factor(what: &'static str, value: f64) -> Result<(), ScheduleError> {
    if value > 0.0 && value.is_finite() {
        return Ok(());
    }
    Err(ScheduleError::OutOfRange {
        what,
        value,
        allowed: "over 0, finite",
    })
}

/// Over 1, powers of it would pass every number in time.
fn decay(gamma: f64) -> Result<(), ScheduleError> {
    if gamma > 0.0 && gamma <= 1.0 {
        return Ok(());
    }
    Err(ScheduleError::OutOfRange {
        what: "gamma",
        value: gamma,
        allowed: "over 0, at most 1",
    })
}

fn size(what: &'static str, value: f64) -> Result<(), ScheduleError> {
    if value >= 0.0 && value.is_finite() {
        return Ok(());
    }
    Err(ScheduleError::OutOfRange {
        what,
        value,
        allowed: "0 or more, finite",
    })
}

fn ascending(boundaries: &[u64]) -> Result<(), ScheduleError> {
    for (index, pair) in boundaries.windows(2).enumerate() {
        if pair[1] <= pair[0] {
            return Err(ScheduleError::NotAscending {
                index: index + 1,
                value: pair[1],
                before: pair[0],
            });
        }
    }
    Ok(())
}
