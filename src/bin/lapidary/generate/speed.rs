//! How fast a model on a device reads a prompt and writes behind it, several times over.

use std::sync::atomic::AtomicBool;
use std::time::Instant;

use lapidary::engine::Engine;
use lapidary::generate::{GenerateError, Session, SessionOptions};
use lapidary::models::llama::Llama;
use lapidary::report::language::{Spread, Timed};

/// What was measured.
pub struct Speed {
    /// The first pass of each kind, which compiles.
    pub compile_seconds: f64,
    /// Of each run, from the prompt to the first new token.
    pub first_token_seconds: Vec<f64>,
    /// Of each run, for all new tokens behind the first.
    pub decode_seconds: Vec<f64>,
    pub dispatches_per_token: usize,
    /// `None` without a device.
    pub submissions_per_token: Option<f64>,
    pub cache_bytes: u64,
    /// The most the engine held so far; `None` without a device.
    pub peak_device_bytes: Option<u64>,
}

impl Speed {
    /// Tokens a second of reading; `None` of no run.
    pub fn prefill(&self, timed: Timed) -> Option<Spread> {
        rate(timed.prompt_tokens, &self.first_token_seconds)
    }

    /// Tokens a second of writing; `None` of no run.
    pub fn decode(&self, timed: Timed) -> Option<Spread> {
        rate(timed.new_tokens, &self.decode_seconds)
    }
}

fn rate(tokens: usize, seconds: &[f64]) -> Option<Spread> {
    let rates: Vec<f64> = seconds
        .iter()
        .map(|&seconds| tokens as f64 / seconds.max(1e-9))
        .collect();
    Spread::of(&rates)
}

/// Reads and writes once to compile, then as often as asked. `stop` is asked before every pass.
///
/// # Errors
/// [`GenerateError::Stopped`], and as [`Session::feed`].
pub fn measure(
    engine: &dyn Engine,
    (llama, settings): (&Llama, SessionOptions),
    timed: Timed,
    stop: &AtomicBool,
) -> Result<Speed, GenerateError> {
    let mut session = Session::new(engine, llama, settings)?.stopped_by(stop);
    let vocabulary = llama.config().vocabulary as u32;
    // Any tokens do: time depends on their number only.
    let prompt: Vec<u32> = (0..timed.prompt_tokens as u32)
        .map(|i| i % vocabulary)
        .collect();
    let began = Instant::now();
    // Reading as far as a timed run will go makes the cache as large as it will be; the plans over it come after
    // that.
    let all: Vec<u32> = prompt
        .iter()
        .copied()
        .cycle()
        .take(prompt.len() + timed.new_tokens)
        .collect();
    session.feed(&all)?;
    session.rewind(0);
    session.feed(&prompt)?;
    decode(&mut session, prompt.first().copied().unwrap_or(0), 1)?;
    let mut found = Speed {
        compile_seconds: began.elapsed().as_secs_f64(),
        first_token_seconds: Vec::new(),
        decode_seconds: Vec::new(),
        dispatches_per_token: session.n_dispatches(),
        submissions_per_token: None,
        cache_bytes: session.cache_bytes(),
        peak_device_bytes: None,
    };
    let mut submissions = engine.submissions().map(|_| 0);
    for _ in 0..timed.repeat {
        session.rewind(0);
        let began = Instant::now();
        let first = session.feed(&prompt)?;
        found
            .first_token_seconds
            .push(began.elapsed().as_secs_f64());
        let token = first.tokens.first().copied().unwrap_or(0);
        let before = engine.submissions();
        let began = Instant::now();
        decode(&mut session, token, timed.new_tokens)?;
        found.decode_seconds.push(began.elapsed().as_secs_f64());
        let made = engine.submissions().zip(before);
        submissions = submissions
            .zip(made)
            .map(|(all, (after, before))| all + after - before);
    }
    let tokens = (timed.repeat * timed.new_tokens).max(1) as f64;
    found.submissions_per_token = submissions.map(|all: u64| all as f64 / tokens);
    found.peak_device_bytes = engine.peak_device_bytes();
    Ok(found)
}

/// Reads a token, then the most likely one after it, `count` in all.
fn decode(session: &mut Session<'_>, mut token: u32, count: usize) -> Result<(), GenerateError> {
    for _ in 0..count {
        let next = session.feed(&[token])?;
        token = next.tokens.first().copied().unwrap_or(token);
    }
    Ok(())
}
