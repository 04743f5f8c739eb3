//! Reads SmolLM2 from its GGUF file and the tokenizer of MiniLM, and checks what was read: every tensor
//! repacked without loss, every Q4_1 tensor encoded again to the same bytes, the whole file written again
//! byte for byte, and the tokens of 22 texts.
//!
//! `scripts/models smollm2` and `scripts/models minilm` bring the models, then
//! `cargo run --release --example read_models`

use std::error::Error;
use std::path::PathBuf;
use std::time::Instant;

use lapidary::io::gguf::{Array, GgufData, GgufFile, Metadata, Value, write_gguf};
use lapidary::io::hf::{HfFolder, ModelConfig};
use lapidary::io::read_bytes;
use lapidary::num::ggml::{GgmlType, decode, encode};
use lapidary::text::{ChatTemplate, Message, TextStream, Tokenizer};

const TOKENS: &str = include_str!("../tests/data/tokens.json");

fn main() -> Result<(), Box<dyn Error>> {
    let path = model("smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")?;
    let started = Instant::now();
    let file = GgufFile::open(&path)?;
    println!("opened in {:.0} ms", 1e3 * started.elapsed().as_secs_f64());
    println!("{:?}", ModelConfig::from_gguf(file.metadata())?);

    check_tensors(&file)?;
    check_written(&file, &path)?;
    let tokenizer = Tokenizer::from_gguf(file.metadata())?;
    check_tokens("smollm2", &tokenizer)?;
    show_chat(&file, &tokenizer)?;

    let folder = HfFolder::new(model("minilm", "")?);
    println!("{:?}", folder.config()?);
    let tokenizer = Tokenizer::open(folder.tokenizer_path())?;
    check_tokens("minilm", &tokenizer)?;
    check_tokens("minilm", &Tokenizer::from_gguf(&bert_metadata(&tokenizer))?)?;
    Ok(())
}

/// A file of a model that `scripts/models` brings.
fn model(name: &str, file: &str) -> Result<PathBuf, Box<dyn Error>> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/.cache/models");
    let path = PathBuf::from(folder).join(name).join(file);
    if !path.exists() {
        let path = path.display();
        return Err(format!("{path} is missing: scripts/models {name} brings it").into());
    }
    Ok(path)
}

/// Repacks every quantized tensor and compares it with its decoded weights; encodes Q4_1 again.
fn check_tensors(file: &GgufFile) -> Result<(), Box<dyn Error>> {
    let started = Instant::now();
    let (mut n_repacked, mut stored, mut packed) = (0, 0, 0);
    for tensor in file.tensors().iter().filter(|one| !one.kind.is_float()) {
        let matrix = file.matrix(&tensor.name)?;
        n_repacked += 1;
        stored += tensor.n_bytes;
        packed += matrix.bytes();
    }
    println!(
        "{n_repacked} of {} tensors repacked in {:.0} ms: {stored} bytes in the file, {packed} here",
        file.tensors().len(),
        1e3 * started.elapsed().as_secs_f64()
    );
    for tensor in file.tensors().iter().filter(|one| !one.kind.is_float()) {
        let name = &tensor.name;
        let (_, bytes) = file.tensor_bytes(name)?;
        let weights = decode(name, tensor.kind, bytes, tensor.n(), tensor.k())?;
        if file.matrix(name)?.dequantize() != weights {
            return Err(format!("{name}: repacking changed a weight").into());
        }
        if tensor.kind == GgmlType::Q4_1
            && encode(name, tensor.kind, &weights, tensor.n(), tensor.k())? != bytes
        {
            return Err(format!("{name}: encoding its weights again gives other bytes").into());
        }
    }
    println!("no weight changed by repacking, no byte of Q4_1 by encoding again");
    Ok(())
}

/// Writes the file again and compares the bytes.
fn check_written(file: &GgufFile, path: &PathBuf) -> Result<(), Box<dyn Error>> {
    let mut tensors = Vec::new();
    for tensor in file.tensors() {
        let (_, bytes) = file.tensor_bytes(&tensor.name)?;
        let data = GgufData::stored(&tensor.name, tensor.kind, &tensor.shape, bytes.to_vec());
        tensors.push(data.map_err(|reason| file.error(reason))?);
    }
    let copy = path.with_extension("copy");
    write_gguf(&copy, file.metadata(), &tensors)?;
    let same = read_bytes(&copy)? == read_bytes(path)?;
    std::fs::remove_file(&copy)?;
    if !same {
        return Err("the file written again has other bytes".into());
    }
    println!("written again byte for byte");
    Ok(())
}

/// Compares the tokens of every reference text, and the text that they make.
fn check_tokens(model: &str, tokenizer: &Tokenizer) -> Result<(), Box<dyn Error>> {
    let references: serde_json::Value = serde_json::from_str(TOKENS)?;
    let references = references[model].as_array().ok_or("no such model")?;
    for reference in references {
        let text = reference["text"].as_str().ok_or("no text")?;
        let expected: Vec<u32> = serde_json::from_value(reference["tokens"].clone())?;
        let tokens = tokenizer.encode(text, true)?;
        if tokens != expected {
            return Err(format!("{model}: {text:?} is {tokens:?}, expected {expected:?}").into());
        }
        let mut stream = TextStream::new(tokenizer);
        let mut streamed = String::new();
        for &token in &tokens {
            streamed += &stream.push(token)?;
        }
        streamed += &stream.finish()?;
        if model == "smollm2" && (streamed != text || tokenizer.decode(&tokens)? != text) {
            return Err(format!("{model}: {text:?} comes back as {streamed:?}").into());
        }
    }
    let n_tokens = tokenizer.n_tokens();
    println!(
        "{model}: tokens of {} texts, of {n_tokens}",
        references.len()
    );
    Ok(())
}

fn show_chat(file: &GgufFile, tokenizer: &Tokenizer) -> Result<(), Box<dyn Error>> {
    let template = file.metadata().text("tokenizer.chat_template");
    let template = ChatTemplate::new(template.map_err(|reason| file.error(reason))?)?;
    let question = Message {
        role: "user".to_owned(),
        content: "Why is the sky blue?".to_owned(),
    };
    let text = template.render(&[question], true, ("<|im_start|>", "<|im_end|>"))?;
    println!("{text:?}: {} tokens", tokenizer.encode(&text, true)?.len());
    Ok(())
}

/// The vocabulary as GGUF stores it.
fn bert_metadata(tokenizer: &Tokenizer) -> Metadata {
    let stored = |token: String| match token.strip_prefix("##") {
        Some(rest) => rest.to_owned(),
        None if token.starts_with('[') && token.ends_with(']') => token,
        None => format!("\u{2581}{token}"),
    };
    let tokens = (0..tokenizer.n_tokens() as u32)
        .map(|id| stored(tokenizer.token(id).unwrap_or_default()))
        .collect();
    let pairs = vec![
        (
            "tokenizer.ggml.model".to_owned(),
            Value::String("bert".to_owned()),
        ),
        (
            "tokenizer.ggml.tokens".to_owned(),
            Value::Array(Array::String(tokens)),
        ),
    ];
    Metadata::new(pairs).unwrap_or_default()
}
