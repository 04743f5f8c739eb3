//! SmolLM2 against the logits, tokens and log-probabilities that PyTorch computed in f32 with the same weights:
//!
//! * the ten largest logits after two prompts within 1e-3, then 64 tokens the same, up to the first whose margin
//!   is within that error;
//! * the log-probabilities of 511 tokens of `alice29.txt` within 1e-3 and their perplexity within 0.1%, read in
//!   passes of 128 tokens and, for the first 48, one by one; with `--long` 2,047 tokens;
//! * a file of the same weights, decoded and encoded again, whose predictions diverge by exactly 0.
//!
//! `scripts/models smollm2` brings the model, then `cargo run --release --example language_model`; with `--cpu` on the
//! CPU instead of an adapter.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Instant;

use lapidary::engine::gpu::{DeviceChoice, GpuOptions};
use lapidary::engine::{CpuEngine, Engine, GpuEngine};
use lapidary::generate::{LanguageModel, Perplexity, Session, SessionOptions, Windows, divergence};
use lapidary::io::gguf::{GgufData, GgufFile, write_gguf};

const PROMPTS: &str = include_str!("../tests/data/smollm2_prompts.json");
/// u32, little-endian.
const TEXT: &[u8] = include_bytes!("../tests/data/smollm2_alice29_ids2048.u32");
/// A NumPy file of f32 `[2047]`.
const LOG_PROBABILITIES: &[u8] = include_bytes!("../tests/data/smollm2_alice29_logprobs_f32.npy");

/// What three implementations agree within, and more than what f32 can lose.
const ALLOWED: f32 = 1e-3;

#[derive(serde::Deserialize)]
struct References {
    prompts: Vec<Prompt>,
}

#[derive(serde::Deserialize)]
struct Prompt {
    text: String,
    ids: Vec<u32>,
    first_logits_top10: Vec<(u32, f32)>,
    greedy64: Vec<u32>,
    margin: Vec<f32>,
    greedy_text: String,
}

fn main() -> Result<(), Box<dyn Error>> {
    let asked = |flag: &str| std::env::args().any(|argument| argument == flag);
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/.cache/models/smollm2");
    let path = PathBuf::from(folder).join("SmolLM2-135M-Instruct.Q4_1.gguf");
    if !path.exists() {
        let path = path.display();
        return Err(format!("{path} is missing: scripts/models smollm2 brings it").into());
    }
    let engine: Box<dyn Engine> = if asked("--cpu") {
        Box::new(CpuEngine::fast())
    } else {
        Box::new(GpuEngine::open(GpuOptions {
            device: DeviceChoice::Auto,
            ..GpuOptions::default()
        })?)
    };
    let engine = engine.as_ref();
    println!("{}", engine.name());
    let began = Instant::now();
    let model = LanguageModel::open(engine, &path, 2304)?;
    println!(
        "loaded in {:.2} s: {} bytes of weights",
        began.elapsed().as_secs_f64(),
        model.llama.n_bytes()
    );
    let references: References = serde_json::from_str(PROMPTS)?;
    for prompt in &references.prompts {
        check_prompt(engine, &model, prompt)?;
    }
    check_text(engine, &model, if asked("--long") { 2048 } else { 512 })?;
    check_encoded_again(engine, &model, &path)
}

fn check_prompt(
    engine: &dyn Engine,
    model: &LanguageModel,
    prompt: &Prompt,
) -> Result<(), Box<dyn Error>> {
    if model.tokens(&prompt.text)? != prompt.ids {
        return Err(format!("{:?}: other tokens than the reference", prompt.text).into());
    }
    let mut session = Session::new(engine, &model.llama, SessionOptions::default())?;
    let logits = session.feed_for_logits(&prompt.ids)?;
    let mut worst = 0f32;
    for &(token, expected) in &prompt.first_logits_top10 {
        let found = logits[token as usize];
        worst = worst.max((found - expected).abs());
    }
    println!("{:?}: first logits within {worst:.2e}", prompt.text);
    if worst > ALLOWED {
        return Err(format!("first logits off by {worst}, allowed {ALLOWED}").into());
    }
    session.rewind(0);
    let mut next = session.feed(&prompt.ids)?;
    let mut made = Vec::new();
    for (at, (&expected, &margin)) in prompt.greedy64.iter().zip(&prompt.margin).enumerate() {
        let found = next.tokens[0];
        if found != expected && margin > 2.0 * ALLOWED {
            return Err(format!("token {at} is {found}, expected {expected}").into());
        }
        made.push(found);
        if found != expected {
            println!("token {at} differs, with a margin of {margin}");
            return Ok(());
        }
        next = session.feed(&[found])?;
    }
    if model.vocabulary.tokenizer.decode(&made)? != prompt.greedy_text {
        return Err("the same tokens make another text".into());
    }
    println!("{} tokens the same: {:?}", made.len(), prompt.greedy_text);
    Ok(())
}

fn check_text(
    engine: &dyn Engine,
    model: &LanguageModel,
    n_tokens: usize,
) -> Result<(), Box<dyn Error>> {
    let tokens = text(n_tokens);
    let values = &LOG_PROBABILITIES[LOG_PROBABILITIES.len() - 4 * 2047..];
    let expected: Vec<f32> = values
        .chunks_exact(4)
        .map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
        .take(n_tokens - 1)
        .collect();
    let mut session = Session::new(engine, &model.llama, SessionOptions::default())?;
    let (before, after) = (&tokens[..n_tokens - 1], &tokens[1..]);
    let found = session.feed_for_log_probabilities(before, after)?;
    check("in passes of 128", &found, &expected)?;

    let of = |values: &[f32]| Perplexity {
        log_probabilities: values.to_vec(),
    };
    let (found, expected_value) = (of(&found).value(), of(&expected).value());
    println!("perplexity {found:.5}, reference {expected_value:.5}");
    if (found / expected_value - 1.0).abs() > 1e-3 {
        return Err("perplexity off by more than 0.1%".into());
    }

    session.rewind(0);
    let mut one_by_one = Vec::new();
    for (&token, &next) in before.iter().zip(after).take(48) {
        one_by_one.extend(session.feed_for_log_probabilities(&[token], &[next])?);
    }
    check("one by one", &one_by_one, &expected)
}

fn text(n_tokens: usize) -> Vec<u32> {
    let words = TEXT.chunks_exact(4).take(n_tokens);
    words
        .map(|bytes| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
        .collect()
}

/// Every tensor as f32 and back into its type (Q4_1, Q8_0 or F32), written, loaded and compared.
fn check_encoded_again(
    engine: &dyn Engine,
    model: &LanguageModel,
    path: &Path,
) -> Result<(), Box<dyn Error>> {
    let file = GgufFile::open(path)?;
    let mut tensors = Vec::new();
    for tensor in file.tensors() {
        let values = file.decoded(&tensor.name)?.to_f32()?;
        let encoded = GgufData::encode(&tensor.name, tensor.kind, &tensor.shape, &values)?;
        tensors.push(encoded);
    }
    let again = std::env::temp_dir().join(format!("lapidary-{}.gguf", std::process::id()));
    write_gguf(&again, file.metadata(), &tensors)?;
    let loaded = LanguageModel::open(engine, &again, 256);
    std::fs::remove_file(&again)?;
    let loaded = loaded?;
    let windows = Windows {
        window: 128,
        stride: 128,
    };
    let pair = [&loaded.llama, &model.llama];
    let options = SessionOptions::default();
    let found = divergence(engine, pair, &text(256), windows, options, &mut |_, _| true)?;
    println!(
        "encoded again: mean divergence {}, largest {}, same top token {}, over {} tokens",
        found.mean(),
        found.quantile(1.0),
        found.agreement(),
        found.nats.len()
    );
    if found.quantile(1.0) != 0.0 || found.agreement() != 1.0 {
        return Err("the same weights predict otherwise".into());
    }
    Ok(())
}

fn check(how: &str, found: &[f32], expected: &[f32]) -> Result<(), Box<dyn Error>> {
    let pairs = found.iter().zip(expected);
    let worst = pairs.fold(0f32, |worst, (a, b)| worst.max((a - b).abs()));
    let n = found.len();
    println!("log-probabilities of {n} tokens {how} within {worst:.2e}");
    if worst > ALLOWED {
        return Err(format!("log-probabilities off by {worst}, allowed {ALLOWED}").into());
    }
    Ok(())
}
