//! Times of several variants of one launch on one adapter, comparable with each other: the variants
//! take turns, so that a clock that changes or a neighbour that wakes up meets them all; the first
//! rounds only warm up; and each gets its median and its spread, not its best run.
//!
//! Times are GPU timestamps where the adapter gives valid ones, else wall time over many dispatches of
//! one submit. Which of the two it was is part of the result.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::engine::{Engine, EngineError, GpuEngine, Plan};
use crate::record::{Access, Buffer, Build, Launch, Pin, Recording};
use crate::shader::Variant;

/// How times were taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// GPU timestamps around each dispatch.
    Timestamps,
    /// Wall time of one submit of several dispatches, divided by their number.
    WallClock,
}

/// Times of one variant, nanoseconds a dispatch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// The middle sample.
    pub median_ns: f64,
    /// The sample a tenth of the way up.
    pub low_ns: f64,
    /// The sample nine tenths of the way up.
    pub high_ns: f64,
    /// Samples taken.
    pub samples: usize,
}

impl Timing {
    /// Median and spread of samples; `None` of none.
    pub fn of(mut samples: Vec<f64>) -> Option<Self> {
        samples.sort_by(f64::total_cmp);
        let last = samples.len().checked_sub(1)?;
        let at = |tenths: usize| samples[(last * tenths + 5) / 10];
        Some(Self {
            median_ns: at(5),
            low_ns: at(1),
            high_ns: at(9),
            samples: samples.len(),
        })
    }

    /// Median and spread, as [`is_tie`] takes them.
    pub fn place(&self) -> (f64, f64) {
        (self.median_ns, self.spread())
    }

    /// Distance of the ninth tenth from the first, as a share of the median.
    pub fn spread(&self) -> f64 {
        (self.high_ns - self.low_ns) / self.median_ns
    }
}

/// Differences below this share of a median are ties whatever the spread.
const LEAST_DIFFERENCE: f64 = 0.02;

/// Whether two medians may be equal: they differ by less than half of both spreads together, or hardly
/// at all. Spreads are shares of their medians.
pub fn is_tie((a, a_spread): (f64, f64), (b, b_spread): (f64, f64)) -> bool {
    let (fast, slow) = (a.min(b), a.max(b));
    slow - fast <= fast * LEAST_DIFFERENCE.max((a_spread + b_spread) / 2.0)
}

/// One variant's outcome.
#[derive(Debug, Clone)]
pub struct Measured {
    /// The variant.
    pub variant: Variant,
    /// Its times, or why there are none.
    pub timing: Result<Timing, EngineError>,
    /// Milliseconds from linking to a compiled pipeline, on this machine's state of the driver's caches.
    pub compile_ms: f64,
}

/// How long to measure.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Rounds in which every variant has its turn.
    pub rounds: usize,
    /// Least time of one turn.
    pub turn: Duration,
    /// Time after which no further round begins; three rounds are always taken.
    pub limit: Duration,
    /// Variants that are slower than the best by more than this factor after two rounds leave the race.
    pub give_up: f64,
}

impl Effort {
    /// For choosing a variant: seconds.
    pub const TUNE: Self = Self {
        rounds: 9,
        turn: Duration::from_millis(10),
        limit: Duration::from_secs(4),
        give_up: 1.5,
    };
    /// For a table that is to be read: every variant gets all its rounds.
    pub const PROFILE: Self = Self {
        rounds: 15,
        turn: Duration::from_millis(20),
        limit: Duration::from_secs(60),
        give_up: f64::INFINITY,
    };
}

/// Told what runs next; returning `false` ends the measurement with what there is.
pub type OnTurn<'a> = dyn FnMut(&str) -> bool + 'a;

/// What a new runner is measured against.
#[derive(Clone, Copy)]
struct Race {
    effort: Effort,
    /// Shortest first run so far, nanoseconds.
    fastest_first: f64,
}

/// First runs slower than the fastest by more than this factor over [`Effort::give_up`] are enough: first
/// runs are cold.
const COLD: f64 = 2.0;

/// A variant on its way.
struct Runner {
    /// Wall time of its first run, nanoseconds.
    first_ns: f64,
    variant: Variant,
    recording: Recording,
    plan: Box<dyn Plan>,
    dispatches: usize,
    samples: Vec<f64>,
    compile_ms: f64,
    failed: Option<EngineError>,
    /// Too slow to be worth further turns.
    left_out: bool,
}

/// Refuses operands that the device cannot hold, before the host makes them.
///
/// # Errors
/// [`EngineError::BufferTooLarge`].
pub(super) fn check_size(engine: &GpuEngine, launch: &dyn Launch) -> Result<(), EngineError> {
    let limit = engine.capabilities().max_buffer_bytes;
    let largest = launch.slots().iter().map(|slot| slot.bytes).max();
    match largest {
        Some(bytes) if bytes > limit => Err(EngineError::BufferTooLarge {
            adapter: engine.summary().name.clone(),
            bytes,
            limit,
        }),
        Some(_) | None => Ok(()),
    }
}

/// Times every variant of `launch` on operands of its own making, in turns.
///
/// # Errors
/// Device errors that concern more than one variant: loss, no memory for the operands.
pub fn time_variants(
    engine: &GpuEngine,
    launch: &Arc<dyn Launch>,
    variants: &[Variant],
    effort: Effort,
    on_turn: &mut OnTurn<'_>,
) -> Result<(Method, Vec<Measured>), EngineError> {
    check_size(engine, launch.as_ref())?;
    let operands = Operands::upload(engine, launch)?;
    let mut method = Method::Timestamps;
    let mut runners: Vec<Runner> = Vec::new();
    let mut failures = Vec::new();
    let began = Instant::now();
    let in_a_hurry = effort.give_up.is_finite();
    for variant in variants {
        if !on_turn(&format!("compiling {variant}")) {
            break;
        }
        // Variants come best guess first, so what there is no time for is what promised least.
        if in_a_hurry && !runners.is_empty() && began.elapsed() > effort.limit {
            failures.push((variant.clone(), no_data(engine)));
            continue;
        }
        let fastest = runners
            .iter()
            .map(|one| one.first_ns)
            .fold(f64::MAX, f64::min);
        let race = Race {
            effort,
            fastest_first: fastest,
        };
        match Runner::new(engine, launch, variant, &operands, race, &mut method) {
            Ok(runner) => runners.push(runner),
            Err(error @ EngineError::DeviceLost { .. }) => return Err(error),
            Err(error) => {
                log::warn!("{variant}: {error}");
                failures.push((variant.clone(), error));
            }
        }
    }
    race(engine, &mut runners, method, effort, on_turn)?;
    let mut measured: Vec<Measured> = runners
        .into_iter()
        .map(|runner| Measured {
            timing: match runner.failed {
                Some(error) => Err(error),
                None => Timing::of(runner.samples).ok_or_else(|| no_data(engine)),
            },
            variant: runner.variant,
            compile_ms: runner.compile_ms,
        })
        .collect();
    measured.extend(failures.into_iter().map(|(variant, error)| Measured {
        variant,
        timing: Err(error),
        compile_ms: 0.0,
    }));
    Ok((method, measured))
}

/// Rounds in which every runner has its turn.
fn race(
    engine: &GpuEngine,
    runners: &mut [Runner],
    method: Method,
    effort: Effort,
    on_turn: &mut OnTurn<'_>,
) -> Result<(), EngineError> {
    settle(engine, runners, method)?;
    let began = Instant::now();
    for round in 0..effort.rounds {
        if round >= 3 && began.elapsed() > effort.limit {
            break;
        }
        for runner in runners.iter_mut() {
            if runner.left_out || runner.failed.is_some() {
                continue;
            }
            let label = format!(
                "round {} of {}: {}",
                round + 1,
                effort.rounds,
                runner.variant
            );
            if !on_turn(&label) {
                return Ok(());
            }
            match runner.turn(engine, method) {
                Ok(sample) => runner.samples.push(sample),
                Err(error @ EngineError::DeviceLost { .. }) => return Err(error),
                Err(error) => runner.failed = Some(error),
            }
        }
        if round == 1 {
            let best = |runner: &Runner| runner.samples.iter().copied().fold(f64::MAX, f64::min);
            let fastest = runners.iter().map(best).fold(f64::MAX, f64::min);
            for runner in runners.iter_mut() {
                runner.left_out |= best(runner) > effort.give_up * fastest;
            }
        }
    }
    Ok(())
}

/// Runs the first variant until two turns in a row differ by less than a twentieth: clocks have settled.
fn settle(engine: &GpuEngine, runners: &mut [Runner], method: Method) -> Result<(), EngineError> {
    const MOST: usize = 10;
    let Some(first) = runners.first_mut() else {
        return Ok(());
    };
    let mut before = first.turn(engine, method)?;
    for _ in 0..MOST {
        let now = first.turn(engine, method)?;
        if (now - before).abs() < 0.05 * before {
            break;
        }
        before = now;
    }
    Ok(())
}

/// Device buffers with a launch's operands; kept alive while its variants run.
struct Operands {
    buffers: Vec<(u32, Buffer)>,
}

impl Operands {
    fn upload(engine: &GpuEngine, launch: &Arc<dyn Launch>) -> Result<Self, EngineError> {
        let mut recording = Recording::new();
        let mut buffers = Vec::new();
        let mut given = launch.example(0);
        for slot in launch.slots() {
            let buffer = Buffer::new(slot.bytes);
            let at = given
                .iter()
                .position(|(binding, _)| *binding == slot.binding);
            let words = match at.filter(|_| slot.access != Access::Write) {
                Some(at) => given.swap_remove(at).1,
                None => vec![0; slot.bytes.div_ceil(4) as usize],
            };
            recording.upload_words(&buffer, words)?;
            buffers.push((slot.binding, buffer));
        }
        engine.run(&recording)?;
        Ok(Self { buffers })
    }

    fn dispatches(
        &self,
        launch: &Arc<dyn Launch>,
        variant: &Variant,
        times: usize,
    ) -> Result<Recording, EngineError> {
        let mut recording = Recording::new();
        let bound: Vec<(u32, &Buffer)> = self
            .buffers
            .iter()
            .map(|(binding, buffer)| (*binding, buffer))
            .collect();
        for _ in 0..times {
            let pin = Pin {
                variant: variant.clone(),
                edits: Vec::new(),
                build: Build::Trusted,
            };
            recording.dispatch_pinned(Arc::clone(launch), &bound, pin)?;
        }
        Ok(recording)
    }
}

impl Runner {
    /// Compiles a variant, runs it once, and makes turns of it that are long enough. Moves `method` to wall
    /// time for good when the adapter's timestamps turn out to be no data.
    fn new(
        engine: &GpuEngine,
        launch: &Arc<dyn Launch>,
        variant: &Variant,
        operands: &Operands,
        race: Race,
        method: &mut Method,
    ) -> Result<Self, EngineError> {
        let began = Instant::now();
        let once = operands.dispatches(launch, variant, 1)?;
        let plan = engine.prepare(&once)?;
        let compile_ms = 1e3 * began.elapsed().as_secs_f64();
        let mut runner = Self {
            variant: variant.clone(),
            recording: once,
            plan,
            dispatches: 1,
            samples: Vec::new(),
            compile_ms,
            failed: None,
            left_out: false,
            first_ns: 0.0,
        };
        // The first run may still compile; the second tells how many fill a turn.
        runner.first_ns = runner.turn(engine, Method::WallClock)?;
        if runner.first_ns > COLD * race.effort.give_up * race.fastest_first {
            runner.samples.push(runner.first_ns);
            runner.left_out = true;
            return Ok(runner);
        }
        let began = Instant::now();
        runner.turn(engine, Method::WallClock)?;
        let dispatches = race.effort.turn.as_secs_f64() / began.elapsed().as_secs_f64().max(1e-6);
        let most = if *method == Method::Timestamps {
            64.0
        } else {
            1000.0
        };
        runner.dispatches = dispatches.clamp(1.0, most) as usize;
        runner.recording = operands.dispatches(launch, variant, runner.dispatches)?;
        runner.plan = engine.prepare(&runner.recording)?;
        if *method == Method::Timestamps && runner.turn(engine, *method).is_err() {
            *method = Method::WallClock;
        }
        Ok(runner)
    }

    /// Nanoseconds a dispatch, over one turn.
    fn turn(&self, engine: &GpuEngine, method: Method) -> Result<f64, EngineError> {
        match method {
            Method::WallClock => {
                let began = Instant::now();
                self.plan.run(&[])?;
                engine.wait()?;
                Ok(1e9 * began.elapsed().as_secs_f64() / self.dispatches as f64)
            }
            Method::Timestamps => {
                let times = engine.time_dispatches(&self.recording)?;
                let total: Option<f64> = times.iter().map(|time| time.nanoseconds).sum();
                total
                    .map(|total| total / self.dispatches as f64)
                    .ok_or_else(|| no_data(engine))
            }
        }
    }
}

fn no_data(engine: &GpuEngine) -> EngineError {
    EngineError::Driver {
        adapter: engine.summary().name.clone(),
        reason: "no valid times".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_and_the_tenths_are_samples() {
        let timing = Timing::of((1..=11).rev().map(f64::from).collect()).expect("eleven");
        assert_eq!(
            (timing.low_ns, timing.median_ns, timing.high_ns),
            (2.0, 6.0, 10.0)
        );
        assert!((timing.spread() - 8.0 / 6.0).abs() < 1e-12);
        let one = Timing::of(vec![3.0]).expect("one");
        assert_eq!((one.low_ns, one.spread()), (3.0, 0.0));
        assert_eq!(Timing::of(Vec::new()), None);
    }

    #[test]
    fn a_tie_is_a_difference_within_the_spread() {
        assert!(is_tie((100.0, 0.0), (101.9, 0.0)));
        assert!(!is_tie((100.0, 0.0), (103.0, 0.0)));
        assert!(is_tie((110.0, 0.1), (100.0, 0.1)));
        assert!(!is_tie((112.0, 0.1), (100.0, 0.1)));
    }
}
