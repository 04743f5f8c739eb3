//! From flags to the learning rate over time.

use clap::{Args, ValueEnum};
use lapidary::num::schedule::{AfterEnd, Anneal, Boundary, Clock, PlateauRule, Schedule};

use crate::options::Failure;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ScheduleName {
    /// The same rate throughout.
    Constant,
    /// Down to 0 in a line.
    Linear,
    /// Down to 0 in half a cosine.
    Cosine,
    /// A tenth after ten epochs in which the loss that is judged by was not better.
    Plateau,
    /// Times --gamma, 0.1 by default, after every --every.
    Step,
    /// Times --gamma, 0.1 by default, at each of --milestones.
    MultiStep,
    /// Times --gamma over each --every, 1 by default, evenly in between.
    Exponential,
    /// The first of --rates until the first of --milestones, then the next.
    Piecewise,
    /// Up to the rate in the share --rise of training, and down again.
    OneCycle,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ClockName {
    /// Steps of the optimizer.
    Steps,
    /// Epochs; the rate stays within one.
    Epochs,
}

#[derive(Debug, Args)]
pub struct RateOptions {
    /// The learning rate over the whole of training.
    #[arg(long, value_enum, default_value = "linear")]
    pub schedule: ScheduleName,
    /// What --every, --milestones and --warm-up count, and how often the rate changes.
    #[arg(long, value_enum, default_value = "steps")]
    clock: ClockName,
    /// Begin with so much time in which the rate rises in a line; the schedule follows from its own beginning.
    #[arg(long, value_name = "TIME")]
    warm_up: Option<u64>,
    /// With --warm-up: share of the rate that it begins with, 0 by default.
    #[arg(long, value_name = "SHARE", requires = "warm_up")]
    warm_up_start: Option<f64>,
    /// Time of a step of the rate.
    #[arg(long, value_name = "TIME")]
    every: Option<u64>,
    /// Times at which the rate changes, ascending.
    #[arg(long, value_name = "TIME,TIME", value_delimiter = ',', num_args = 1)]
    milestones: Option<Vec<u64>>,
    /// What the rate is multiplied by.
    #[arg(long, value_name = "FACTOR")]
    gamma: Option<f64>,
    /// One rate more than there are milestones.
    #[arg(long, value_name = "RATE,RATE", value_delimiter = ',', num_args = 1)]
    rates: Option<Vec<f64>>,
    /// Share of the way up of one cycle, 0.3 by default.
    #[arg(long, value_name = "SHARE")]
    rise: Option<f64>,
}

impl RateOptions {
    /// The clock for epochs of so many steps.
    pub const fn clock(&self, steps_per_epoch: u64) -> Clock {
        match self.clock {
            ClockName::Steps => Clock::Steps,
            ClockName::Epochs => Clock::Epochs { steps_per_epoch },
        }
    }

    /// What follows a loss that does not fall.
    pub fn plateau(&self) -> Option<PlateauRule> {
        (self.schedule == ScheduleName::Plateau).then(PlateauRule::default)
    }

    /// The schedule for so many epochs of so many steps. That its numbers are in range, it checks itself.
    pub fn made(&self, epochs: u32, steps_per_epoch: u64) -> Result<Schedule, Failure> {
        self.refuse_others()?;
        let whole = match self.clock {
            ClockName::Steps => u64::from(epochs).saturating_mul(steps_per_epoch),
            ClockName::Epochs => u64::from(epochs),
        };
        let total = match whole.checked_sub(self.warm_up.unwrap_or(0)) {
            Some(left) if left > 0 => left,
            _ => {
                return Err(Failure::Usage(format!(
                    "--warm-up: {} of {whole}; it must be shorter than training",
                    self.warm_up.unwrap_or(0)
                )));
            }
        };
        let schedule = self.after_warm_up(total)?;
        Ok(match self.warm_up {
            None => schedule,
            Some(warm_up) => Schedule::WarmUp {
                warm_up,
                start: self.warm_up_start.unwrap_or(0.0),
                then: Box::new(schedule),
            },
        })
    }

    fn after_warm_up(&self, total: u64) -> Result<Schedule, Failure> {
        let name = self.schedule.to_possible_value();
        let name = name.map_or_else(String::new, |name| name.get_name().to_owned());
        let missing = |flag: &str| Failure::Usage(format!("--schedule {name} needs --{flag}"));
        let gamma = self.gamma.unwrap_or(0.1);
        let milestones = || self.milestones.clone().ok_or_else(|| missing("milestones"));
        Ok(match self.schedule {
            ScheduleName::Constant | ScheduleName::Plateau => Schedule::Constant,
            ScheduleName::Linear => Schedule::Polynomial {
                total,
                power: 1.0,
                end: 0.0,
            },
            ScheduleName::Cosine => Schedule::Cosine {
                total,
                minimum: 0.0,
                then: AfterEnd::Hold,
            },
            ScheduleName::Step => Schedule::Step {
                every: self.every.ok_or_else(|| missing("every"))?,
                gamma,
            },
            ScheduleName::MultiStep => Schedule::MultiStep {
                milestones: milestones()?,
                gamma,
            },
            ScheduleName::Exponential => Schedule::Exponential {
                gamma: self.gamma.ok_or_else(|| missing("gamma"))?,
                over: self.every.unwrap_or(1),
            },
            ScheduleName::Piecewise => Schedule::Piecewise {
                boundaries: milestones()?,
                values: self.rates.clone().ok_or_else(|| missing("rates"))?,
                at: Boundary::Begins,
            },
            ScheduleName::OneCycle => match Schedule::one_cycle(total) {
                Schedule::OneCycle {
                    rise,
                    initial_divisor,
                    final_divisor,
                    ..
                } => Schedule::OneCycle {
                    total,
                    rise: self.rise.unwrap_or(rise),
                    initial_divisor,
                    final_divisor,
                    anneal: Anneal::Cosine,
                },
                other => other,
            },
        })
    }

    /// Refuses flags of schedules that were not chosen.
    fn refuse_others(&self) -> Result<(), Failure> {
        use ScheduleName::{Exponential, MultiStep, OneCycle, Piecewise, Step};
        let flags = [
            ("every", self.every.is_some(), &[Step, Exponential][..]),
            (
                "milestones",
                self.milestones.is_some(),
                &[MultiStep, Piecewise],
            ),
            (
                "gamma",
                self.gamma.is_some(),
                &[Step, MultiStep, Exponential],
            ),
            ("rates", self.rates.is_some(), &[Piecewise]),
            ("rise", self.rise.is_some(), &[OneCycle]),
        ];
        let wrong = |(_, given, of): &&(&str, bool, &[ScheduleName])| {
            *given && !of.contains(&self.schedule)
        };
        let Some((flag, _, of)) = flags.iter().find(wrong) else {
            return Ok(());
        };
        let names = of.iter().filter_map(ValueEnum::to_possible_value);
        let names: Vec<String> = names.map(|name| name.get_name().to_owned()).collect();
        Err(Failure::Usage(format!(
            "--{flag} is for --schedule {}",
            names.join(" or ")
        )))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        options: RateOptions,
    }

    fn parsed(words: &str) -> RateOptions {
        let words = ["line"].into_iter().chain(words.split_whitespace());
        Line::try_parse_from(words).unwrap().options
    }

    /// Rates of ten epochs of four steps, before each of the given steps.
    fn rates(words: &str, steps: &[u64]) -> Vec<f64> {
        let options = parsed(words);
        let schedule = options.made(10, 4).unwrap();
        schedule.check().unwrap();
        let at = |&step| schedule.rate(1.0, options.clock(4).time(step).unwrap());
        steps.iter().map(at).collect()
    }

    #[test]
    fn every_schedule_can_be_asked_for() {
        assert_eq!(rates("", &[0, 20, 40]), [1.0, 0.5, 0.0]);
        let step = "--schedule step --every 10 --gamma 0.5";
        assert_eq!(rates(step, &[9, 10, 20]), [1.0, 0.5, 0.25]);
        let epochs = "--schedule step --every 2 --gamma 0.5 --clock epochs";
        assert_eq!(rates(epochs, &[7, 8, 15, 16]), [1.0, 0.5, 0.5, 0.25]);
        let multi = "--schedule multi-step --milestones 3,5 --gamma 0.5";
        assert_eq!(rates(multi, &[2, 3, 4, 5]), [1.0, 0.5, 0.5, 0.25]);
        let exponential = "--schedule exponential --gamma 0.25 --every 2";
        assert_eq!(rates(exponential, &[0, 1, 2]), [1.0, 0.5, 0.25]);
        let piecewise = "--schedule piecewise --milestones 3 --rates 0.5,2";
        assert_eq!(rates(piecewise, &[2, 3]), [0.5, 2.0]);
        let cycle = "--schedule one-cycle --rise 0.5";
        assert_eq!(rates(cycle, &[0, 19]), [1.0 + (1.0 / 25.0 - 1.0), 1.0]);
        assert_eq!(rates("--schedule plateau", &[0, 39]), [1.0, 1.0]);
        assert!(parsed("--schedule plateau").plateau().is_some());
    }

    #[test]
    fn a_warm_up_goes_before_any_schedule_and_counts() {
        let linear = "--warm-up 8";
        assert_eq!(rates(linear, &[0, 4, 8, 24, 40]), [0.0, 0.5, 1.0, 0.5, 0.0]);
        let start = "--warm-up 1 --warm-up-start 0.5 --clock epochs --schedule constant";
        assert_eq!(rates(start, &[0, 3, 4]), [0.5, 0.5, 1.0]);
    }

    #[test]
    fn what_a_schedule_has_not_or_needs_is_said() {
        for (words, expected) in [
            ("--every 3", "--every is for --schedule step or exponential"),
            (
                "--schedule step --rise 0.5",
                "--rise is for --schedule one-cycle",
            ),
            ("--schedule step", "--schedule step needs --every"),
            ("--schedule multi-step", "needs --milestones"),
            ("--schedule exponential", "needs --gamma"),
            ("--schedule piecewise --milestones 3", "needs --rates"),
            ("--warm-up 40", "--warm-up: 40 of 40"),
        ] {
            let said = parsed(words).made(10, 4).expect_err(words).to_string();
            assert!(said.contains(expected), "{said}");
        }
    }
}
