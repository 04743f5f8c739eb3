//! Embeds 20 sentences with all-MiniLM-L6-v2, on an adapter and on the CPU, and compares them with PyTorch's vectors;
//! then compresses its linear weights in several ways, with lines of a novel as calibration text, and prints how far
//! the worst of the 20 vectors turns. Fails where a vector is off or a method falls short of what it must reach.
//!
//! `scripts/models minilm` brings the model, then
//! `cargo run --release --example compress_minilm [ROW..]`, rows by their names or beginnings of them

use std::error::Error;
use std::path::PathBuf;
use std::time::Instant;

use lapidary::compress::prune::{SparseGpt, Sparsity};
use lapidary::compress::quantize::{Awq, Gptq, Hqq, Linear, RangeChoice, Width};
use lapidary::compress::transformer::{BertInputs, Method, compress_bert};
use lapidary::embed::{Embedder, EncoderFolder, MAX_TOKENS, Sentence, verify};
use lapidary::engine::gpu::GpuOptions;
use lapidary::engine::{CpuEngine, Engine, GpuEngine};
use lapidary::io::safetensors::SafetensorsFile;
use lapidary::kernels::sparse::Route;
use lapidary::models::Bert;
use lapidary::num::Granularity;

const REFERENCES: &str = include_str!("../tests/data/tokens.json");
const CALIBRATION: &str = include_str!("../tests/data/alice29_lines.txt");

/// Lines of the calibration text that are used.
const LINES: usize = 200;

/// Largest difference of an element of a vector, and of a cosine of two, from PyTorch's.
const TOLERANCE: f64 = 1e-5;

/// A row of the table.
struct Row {
    name: &'static str,
    method: Method,
    /// Least cosine of the worst sentence that must be reached.
    least: Option<f64>,
}

fn rows() -> Vec<Row> {
    let group = Granularity::Group(32);
    let int8 = Linear::symmetric(Width::Int8, Granularity::Channel);
    let symmetric = Linear::symmetric(Width::Int4, group);
    let int4 = Linear::asymmetric(Width::Int4, group);
    let fitted = Linear {
        range: RangeChoice::MSE,
        ..int4
    };
    let half = Sparsity::Share(0.5);
    let two_of_four = Sparsity::NOfM { keep: 2, group: 4 };
    let row = |name, method, least| Row {
        name,
        method,
        least,
    };
    vec![
        row("int8 nearest", Method::Nearest(int8), None),
        row(
            "int8 gptq",
            Method::Gptq(int8, Gptq::default()),
            Some(0.9985),
        ),
        row("int4 nearest symmetric", Method::Nearest(symmetric), None),
        row("int4 nearest", Method::Nearest(int4), None),
        row("int4 nearest least squares", Method::Nearest(fitted), None),
        row(
            "int4 hqq",
            Method::Hqq {
                width: Width::Int4,
                granularity: group,
                options: Hqq::default(),
            },
            None,
        ),
        row(
            "int4 gptq",
            Method::Gptq(fitted, Gptq::default()),
            Some(0.965),
        ),
        row("int4 awq", Method::Awq(int4, Awq::default()), None),
        row("prune magnitude", Method::Magnitude(half), None),
        row("prune wanda", Method::Wanda(half), None),
        row(
            "prune sparsegpt",
            Method::SparseGpt(half, SparseGpt::default()),
            Some(0.8),
        ),
        row(
            "prune 2:4 sparsegpt",
            Method::SparseGpt(two_of_four, SparseGpt::default()),
            None,
        ),
    ]
}

fn main() -> Result<(), Box<dyn Error>> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.cache/models/minilm"));
    if !path.join("model.safetensors").exists() {
        let path = path.display();
        return Err(format!("{path} is missing: scripts/models minilm brings it").into());
    }
    let folder = EncoderFolder::open(&path)?;
    let gpu = GpuEngine::open(GpuOptions::default())?;
    println!("all-MiniLM-L6-v2 on {}", gpu.summary().line());
    let bert = folder.upload(&gpu)?;

    let sentences = references(&folder)?;
    let original = Embedder::new(&gpu, bert.clone()).embed(&sentences, &mut |_| true)?;
    check_vectors(&original)?;
    check_operations(&gpu, &bert, &sentences[..2])?;
    let cpu = CpuEngine::fast();
    println!("on {}", cpu.name());
    let began = Instant::now();
    let on_cpu = Embedder::new(&cpu, folder.upload(&cpu)?).embed(&sentences, &mut |_| true)?;
    println!("made in {:.2} s", began.elapsed().as_secs_f64());
    check_vectors(&on_cpu)?;

    let calibration = CALIBRATION
        .lines()
        .take(LINES)
        .map(|line| Ok(Sentence::new(&folder.tokenizer, line, MAX_TOKENS)?.tokens))
        .collect::<Result<Vec<_>, Box<dyn Error>>>()?;
    let tokens: usize = calibration.iter().map(Vec::len).sum();
    println!("calibration: {LINES} lines, {tokens} tokens");
    println!(
        "{:<27} {:>9} {:>9} {:>8} {:>15} {:>7}",
        "", "worst cos", "mean cos", "MB", "worst layer", "seconds"
    );
    let inputs = BertInputs {
        engine: &gpu,
        bert: &bert,
        weights: &folder.weights,
        calibration: &calibration,
        watch: &|_| true,
    };
    let mut missed = Vec::new();
    for row in rows() {
        let is_wanted = |word: &String| row.name.starts_with(word.as_str());
        if !wanted.is_empty() && !wanted.iter().any(is_wanted) {
            continue;
        }
        let began = Instant::now();
        // Zeros written out: the same values, by the kernel that is fast for many rows.
        let made = compress_bert(&inputs, &row.method, Route::Dense)?;
        let (bytes, lost) = (made.bytes(), made.worst().map(|(_, share)| share));
        let vectors = Embedder::new(&gpu, made.bert).embed(&sentences, &mut |_| true)?;
        let cosines = cosines(&original, &vectors, folder.config.width);
        let worst = cosines.iter().copied().fold(1.0, f64::min);
        println!(
            "{:<27} {worst:>9.5} {:>9.5} {:>8.2} {:>15} {:>7.1}",
            row.name,
            cosines.iter().sum::<f64>() / cosines.len() as f64,
            bytes as f64 / 1e6,
            lost.map_or_else(String::new, |share| format!("{:.3}% lost", 100.0 * share)),
            began.elapsed().as_secs_f64()
        );
        if let Some(least) = row.least.filter(|&least| worst < least) {
            missed.push(format!(
                "{}: {worst:.5}, at least {least} is needed",
                row.name
            ));
        }
    }
    match missed.is_empty() {
        true => Ok(()),
        false => Err(missed.join("; ").into()),
    }
}

/// The tokens of the reference sentences, once they are the tokenizer's own.
fn references(folder: &EncoderFolder) -> Result<Vec<Vec<u32>>, Box<dyn Error>> {
    let references: serde_json::Value = serde_json::from_str(REFERENCES)?;
    let references = references["minilm"].as_array().ok_or("no sentences")?;
    let mut sentences = Vec::new();
    for one in references {
        let text = one["text"].as_str().ok_or("no text")?;
        let expected: Vec<u32> = serde_json::from_value(one["tokens"].clone())?;
        let sentence = Sentence::new(&folder.tokenizer, text, MAX_TOKENS)?;
        if sentence.tokens != expected {
            return Err(format!("{text:?} is {:?}, expected {expected:?}", sentence.tokens).into());
        }
        sentences.push(sentence.tokens);
    }
    Ok(sentences)
}

/// Compares vectors, and cosines of pairs of them, with PyTorch's.
fn check_vectors(vectors: &[f32]) -> Result<(), Box<dyn Error>> {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/data/minilm_embeddings20.safetensors"
    );
    let file = SafetensorsFile::open(path)?;
    let expected = file.tensor("embeddings")?;
    let &[n, width] = expected.shape() else {
        return Err("embeddings: expected a matrix".into());
    };
    if vectors.len() != n * width {
        return Err(format!("{} elements, expected {}", vectors.len(), n * width).into());
    }
    let differences = vectors.iter().zip(expected.to_f32()?);
    let worst = differences
        .map(|(&got, expected)| f64::from(got - expected).abs())
        .fold(0.0, f64::max);
    let pairs = file.tensor("pairs")?.to_i32()?;
    let mut worst_pair: f64 = 0.0;
    for (pair, expected) in pairs.chunks_exact(2).zip(file.tensor("cosines")?.to_f32()?) {
        let [first, second] =
            [pair[0], pair[1]].map(|one| &vectors[one as usize * width..][..width]);
        worst_pair = worst_pair.max((dot(first, second) - f64::from(expected)).abs());
    }
    println!(
        "{n} vectors of {width}: largest difference from PyTorch's {worst:.2e}, of {} cosines {worst_pair:.2e}",
        pairs.len() / 2
    );
    // A largest difference passes over NaN.
    if vectors.iter().all(|x| x.is_finite()) && worst.max(worst_pair) <= TOLERANCE {
        return Ok(());
    }
    Err(format!("a difference is above {TOLERANCE:e}, or no number").into())
}

/// Judges every operation of a pass against its definition.
fn check_operations(
    engine: &dyn Engine,
    bert: &Bert,
    sentences: &[Vec<u32>],
) -> Result<(), Box<dyn Error>> {
    for part in verify(engine, bert, sentences)? {
        println!(
            "{:<11} {:>2} operations, {:>6} elements, worst error {:.4} of what is allowed",
            part.part, part.operations, part.elements, part.worst_over_bound
        );
        if part.worst_over_bound > 1.0 {
            return Err(format!("{}: {}", part.part, part.worst_operation).into());
        }
    }
    Ok(())
}

/// Of the vectors of each sentence.
fn cosines(a: &[f32], b: &[f32], width: usize) -> Vec<f64> {
    let rows = a.chunks_exact(width).zip(b.chunks_exact(width));
    rows.map(|(a, b)| dot(a, b) / (dot(a, a) * dot(b, b)).sqrt())
        .collect()
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter()
        .zip(b)
        .map(|(&a, &b)| f64::from(a) * f64::from(b))
        .sum()
}
