//! What a table will hold. Everything that can be wrong with files and settings is said here, before anything that takes
//! long.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use lapidary::generate::{CutText, GenerateError, Headers, LanguageModel, Windows};
use lapidary::io::{available_memory, file_sha256, read_text};
use lapidary::report::language::{JudgedText, LanguageReport, LanguageRow, Timed};

use crate::generate::perplexity::{NO_TABLE, same_tokens};
use crate::generate::{ByteCount, LanguageOptions, PerplexityOptions, failure, is_language_model};
use crate::models::Opener;
use crate::options::{CommonOptions, DeviceOption, Failure};
use crate::output::bytes;
use crate::train::usage;

use super::facts;

/// Bytes of the base's logits on the host unless given.
const MOST_LOGITS: u64 = 1 << 30;

/// Tokens of a run that is timed, where the context has room.
const PROMPT_TOKENS: usize = 128;
const NEW_TOKENS: usize = 64;

/// A model and how it is run.
pub struct Row {
    pub file: PathBuf,
    pub language: LanguageOptions,
    /// What its files say.
    pub facts: LanguageRow,
}

pub struct Plan {
    pub opener: Opener,
    pub rows: Vec<Row>,
    pub text: CutText,
    pub windows: Windows,
    pub vocabulary: usize,
    /// Bytes of logits that the host may hold.
    pub most_logits: u64,
    pub timed: Option<Timed>,
    judged: JudgedText,
}

impl Plan {
    pub fn new(
        common: &CommonOptions,
        (models, device): (&[PathBuf], &DeviceOption),
        text: &Path,
        options: &PerplexityOptions,
    ) -> Result<Self, Failure> {
        let content = read_text(text).map_err(usage)?;
        let ways = ways(models, options)?;
        let Some((first, _)) = ways.first() else {
            return Err(Failure::Usage("eval: name a model".to_owned()));
        };
        let mut files: Vec<&Path> = Vec::new();
        for (file, _) in &ways {
            if !files.contains(file) {
                files.push(file);
            }
        }
        // Headers of all before anything else: a model that cannot be read is named at once.
        let mut headers: BTreeMap<&Path, Headers> = BTreeMap::new();
        for file in &files {
            if !is_language_model(file) {
                return Err(Failure::Usage(format!(
                    "{}: no language model: expected a .gguf file, or a folder with config.json and tokenizer.json or tokenizer.model",
                    file.display()
                )));
            }
            headers.insert(file, Headers::read(file).map_err(failure)?);
        }
        let base = &headers[first];
        let tokens = options.cut(base.vocabulary.tokens(&content).map_err(failure)?);
        let vocabulary = base.config.vocabulary;
        let mut context = usize::MAX;
        for (file, one) in &headers {
            let of_model = one.config.vocabulary;
            if of_model != vocabulary {
                let error = GenerateError::OtherVocabulary {
                    model: of_model,
                    base: vocabulary,
                };
                return Err(Failure::Usage(format!("{}: {error}", file.display())));
            }
            same_tokens(file, one, (&content, &tokens))?;
            context = context.min(one.context(ways[0].1.positions()));
        }
        let windows = options.windows(context);
        let cut = CutText::new(tokens, windows, context).map_err(failure)?;
        if let ([_], Some(_)) = (&ways[..], options.max_logits) {
            return Err(Failure::Usage(NO_TABLE.to_owned()));
        }
        let most_logits = most_logits(&cut, vocabulary, (ways.len(), options))?;

        let opener = Opener::new(common, device)?;
        let engine = opener.open()?;
        for (file, language) in &ways {
            let (how, most) = (language.planned(1), language.most());
            LanguageModel::check_room(engine.as_ref(), file, how, most).map_err(failure)?;
        }
        drop(engine);
        let names = names(&files);
        let mut facts_of = BTreeMap::new();
        for file in &files {
            facts_of.insert(*file, facts::of(file, names[file].clone())?);
        }
        let rows = ways.iter().map(|(file, language)| {
            let mut facts = facts_of[file].clone();
            facts.kv = language.kv.to_string();
            facts.activations = language.activations.to_string();
            if options.caches().len() > 1 {
                facts.name += &format!(", kv {}", facts.kv);
            }
            if options.paths().len() > 1 {
                facts.name += &format!(", activations {}", facts.activations);
            }
            Row {
                file: file.to_path_buf(),
                language: *language,
                facts,
            }
        });
        let rows = rows.collect();
        let repeat = options.repeat.unwrap_or(1) as usize;
        let prompt_tokens = PROMPT_TOKENS.min(context / 2).max(1);
        let new_tokens = NEW_TOKENS.min(context.saturating_sub(prompt_tokens));
        let timed = Timed {
            prompt_tokens,
            new_tokens,
            repeat,
        };
        let judged = JudgedText {
            file: text.display().to_string(),
            sha256: file_sha256(text).map_err(usage)?.0,
            tokens: cut.tokens().len(),
            predictions: cut.n_predictions(),
            window: windows.window,
            stride: windows.stride,
        };
        Ok(Self {
            opener,
            rows,
            text: cut,
            windows,
            vocabulary,
            most_logits,
            timed: (repeat > 0 && new_tokens > 0).then_some(timed),
            judged,
        })
    }

    /// The report of rows without anything measured.
    pub fn empty_report(&self) -> LanguageReport {
        LanguageReport {
            title: format!("Language models on {}", self.judged.file),
            device: self.opener.device.clone(),
            driver: self.opener.driver.clone(),
            command: command(),
            text: self.judged.clone(),
            timed: self.timed,
            is_complete: false,
            error: None,
            rows: self.rows.iter().map(|row| row.facts.clone()).collect(),
            notes: Vec::new(),
        }
    }
}

/// Every model in every way it is run, the base first.
fn ways<'a>(
    models: &'a [PathBuf],
    options: &'a PerplexityOptions,
) -> Result<Vec<(&'a Path, LanguageOptions)>, Failure> {
    for (index, model) in models.iter().enumerate() {
        if models[..index].iter().any(|other| is_same(other, model)) {
            return Err(Failure::Usage(format!(
                "{}: named twice; a row for each model is enough",
                model.display()
            )));
        }
    }
    for (flag, twice) in [
        ("--kv", repeated(options.caches())),
        ("--activations", repeated(options.paths())),
    ] {
        if let Some(twice) = twice {
            return Err(Failure::Usage(format!("{flag}: {twice} is there twice")));
        }
    }
    let mut all: Vec<(&Path, LanguageOptions)> = Vec::new();
    for model in models {
        for &kv in options.caches() {
            for &activations in options.paths() {
                all.push((model, options.language(kv, activations)));
            }
        }
    }
    let (Some(base), Some(&kv), Some(&activations)) = (
        &options.base,
        options.caches().first(),
        options.paths().first(),
    ) else {
        return Ok(all);
    };
    // One that is a row already moves to the front.
    let is_base = |(file, how): &(&Path, LanguageOptions)| {
        is_same(file, base) && how.kv == kv && how.activations == activations
    };
    let first = match all.iter().position(is_base) {
        Some(at) => all.remove(at),
        None => (base.as_path(), options.language(kv, activations)),
    };
    all.insert(0, first);
    Ok(all)
}

/// The first value that is there again.
fn repeated<T: PartialEq + std::fmt::Display>(values: &[T]) -> Option<String> {
    let again = |(index, value): &(usize, &T)| values[..*index].contains(value);
    let found = values.iter().enumerate().find(again);
    found.map(|(_, value)| value.to_string())
}

/// Whether two paths are of one file or folder.
pub fn is_same(a: &Path, b: &Path) -> bool {
    let place = |path: &Path| path.canonicalize().ok();
    a == b || place(a).is_some_and(|a| place(b) == Some(a))
}

/// The last parts of paths, or all of a path where two have the same.
fn names<'a>(files: &[&'a Path]) -> BTreeMap<&'a Path, String> {
    let last = |path: &Path| {
        path.file_name()
            .map(|name| name.to_string_lossy().into_owned())
    };
    let of = |path: &&'a Path| {
        let is_taken = |other: &&&Path| **other != *path && last(other) == last(path);
        let name = last(path).filter(|_| !files.iter().any(|other| is_taken(&other)));
        (*path, name.unwrap_or_else(|| path.display().to_string()))
    };
    files.iter().map(of).collect()
}

/// Bytes of the base's logits that the host may hold; those of a window it must have room for.
fn most_logits(
    text: &CutText,
    vocabulary: usize,
    (n_rows, options): (usize, &PerplexityOptions),
) -> Result<u64, Failure> {
    let free = available_memory().unwrap_or(u64::MAX);
    let window = text.largest_window_bytes(vocabulary);
    // A single row is compared with nothing, and keeps no logits.
    if n_rows > 1 && window > free {
        return Err(Failure::Usage(format!(
            "the logits of the base over one window take {} of the host's memory, of which {} are free; allowed: a smaller --window",
            bytes(window),
            bytes(free)
        )));
    }
    Ok(match options.max_logits {
        Some(ByteCount(most)) => most,
        None => MOST_LOGITS.min(free / 4),
    })
}

/// The command line, in quotes where a shell needs them.
fn command() -> String {
    let words = std::env::args_os().skip(1).map(|word| {
        let word = word.to_string_lossy().into_owned();
        let is_plain = |letter: char| letter.is_alphanumeric() || "-_./,=:+@%".contains(letter);
        match !word.is_empty() && word.chars().all(is_plain) {
            true => word,
            false => format!("'{}'", word.replace('\'', "'\\''")),
        }
    });
    std::iter::once("lapidary".to_owned())
        .chain(words)
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_of_the_same_name_are_told_apart_by_their_paths() {
        let files = ["a/model.gguf", "b/model.gguf", "b/other.gguf"].map(Path::new);
        let names = names(&files);
        let names: Vec<&str> = files.iter().map(|file| names[file].as_str()).collect();
        assert_eq!(names, ["a/model.gguf", "b/model.gguf", "other.gguf"]);
    }

    #[test]
    fn what_is_there_twice_is_found() {
        assert_eq!(repeated(&[1, 2, 1]), Some("1".to_owned()));
        assert_eq!(repeated(&[1, 2]), None);
    }
}
