//! A decoder with what turns text into its tokens.

use std::path::{Path, PathBuf};

use crate::engine::Engine;
use crate::io::available_memory;
use crate::io::gguf::{GgufFile, Metadata};
use crate::io::hf::{ConfigError, DecoderConfig, HfFolder};
use crate::models::llama::{
    CacheType, Footprint, GgufWeights, HfWeights, Llama, Use, WeightSource, largest_context,
};
use crate::record::Recording;
use crate::text::{ChatTemplate, Message, TextError, Tokenizer};

use super::GenerateError;
use super::session::LONGEST;

/// Words of tokens that end an answer, in models whose files name only one.
const END_WORDS: [&str; 5] = [
    "<|im_end|>",
    "<|eot_id|>",
    "<|endoftext|>",
    "</s>",
    "<|end|>",
];

/// A decoder on an engine, with what turns text into its tokens.
#[derive(Debug)]
pub struct LanguageModel {
    /// The weights.
    pub llama: Llama,
    /// Its tokens.
    pub vocabulary: Vocabulary,
}

/// What a model's files say before any weight is read.
#[derive(Debug)]
pub struct Headers {
    /// Sizes.
    pub config: DecoderConfig,
    /// Its tokens.
    pub vocabulary: Vocabulary,
}

/// A model's tokenizer and chat template, and the tokens it wants around texts.
#[derive(Debug)]
pub struct Vocabulary {
    path: PathBuf,
    /// Text to tokens and back.
    pub tokenizer: Tokenizer,
    template: Option<ChatTemplate>,
    begin: Option<u32>,
    /// Whether texts begin with it; `None` where the tokenizer does what is wanted.
    adds_begin: Option<bool>,
    ends: Vec<u32>,
}

impl LanguageModel {
    /// Opens a GGUF file or a folder of Hugging Face's and uploads its weights. At most `context` positions will
    /// be asked for; those of the model where it has fewer.
    ///
    /// # Errors
    /// [`GenerateError`] for files that cannot be used and what the engine says.
    pub fn open(
        engine: &dyn Engine,
        path: impl AsRef<Path>,
        context: usize,
    ) -> Result<Self, GenerateError> {
        Self::open_for(engine, path, text_of(context, CacheType::default()), None)
    }

    /// The same for a use that is known before: a model that would not fit the engine's memory, or `max_memory`
    /// bytes of it, is refused before anything is uploaded.
    ///
    /// # Errors
    /// As [`Self::open`]; [`crate::models::llama::LlamaError::Memory`] and [`crate::models::llama::LlamaError::Buffer`] with the sizes.
    pub fn open_for(
        engine: &dyn Engine,
        path: impl AsRef<Path>,
        how: Use,
        max_memory: Option<u64>,
    ) -> Result<Self, GenerateError> {
        let path = path.as_ref();
        let headers = Headers::read(path)?;
        Self::open_with(engine, (path, headers.vocabulary), how, max_memory)
    }

    /// The same with a vocabulary that was read before, by [`Headers::read`].
    ///
    /// # Errors
    /// As [`Self::open_for`].
    pub fn open_with(
        engine: &dyn Engine,
        (path, vocabulary): (&Path, Vocabulary),
        how: Use,
        max_memory: Option<u64>,
    ) -> Result<Self, GenerateError> {
        let run = |recording: &Recording| -> Result<(), GenerateError> {
            engine.run(recording)?;
            Ok(())
        };
        with_source(path, |source| {
            check_source(engine, source, how, max_memory)?;
            vocabulary.check(source.config()?.vocabulary)?;
            let llama = Llama::load(source, how.context, run)?;
            Ok(Self { llama, vocabulary })
        })
    }

    /// Refuses a model that would not fit the engine's memory, or `max_memory` bytes of it, by what its files say
    /// before any weight is read.
    ///
    /// # Errors
    /// As [`Self::open_for`].
    pub fn check_room(
        engine: &dyn Engine,
        path: impl AsRef<Path>,
        how: Use,
        max_memory: Option<u64>,
    ) -> Result<(), GenerateError> {
        with_source(path.as_ref(), |source| {
            check_source(engine, source, how, max_memory)
        })
    }

    /// Tokens that end a text.
    #[must_use]
    pub fn ends(&self) -> &[u32] {
        &self.vocabulary.ends
    }

    /// As [`Vocabulary::tokens`].
    ///
    /// # Errors
    /// [`GenerateError::Text`].
    pub fn tokens(&self, text: &str) -> Result<Vec<u32>, GenerateError> {
        self.vocabulary.tokens(text)
    }

    /// As [`Vocabulary::chat_tokens`].
    ///
    /// # Errors
    /// [`GenerateError::NoTemplate`], [`GenerateError::Text`].
    pub fn chat_tokens(&self, messages: &[Message]) -> Result<Vec<u32>, GenerateError> {
        self.vocabulary.chat_tokens(messages)
    }
}

impl Headers {
    /// Those of a GGUF file or a folder of Hugging Face's.
    ///
    /// # Errors
    /// [`GenerateError`] for files that cannot be used.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, GenerateError> {
        let path = path.as_ref();
        with_source(path, |source| {
            let config = source.config()?;
            let vocabulary = Vocabulary::open(path)?;
            vocabulary.check(config.vocabulary)?;
            Ok(Self { config, vocabulary })
        })
    }

    /// Positions there will be where `context` are asked for.
    #[must_use]
    pub fn context(&self, context: usize) -> usize {
        context.min(largest_context(&self.config)).max(1)
    }
}

impl Vocabulary {
    /// That of a GGUF file or a folder of Hugging Face's; no weights are read.
    ///
    /// # Errors
    /// [`GenerateError`] for files that cannot be used.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, GenerateError> {
        let path = path.as_ref();
        let mut opened = if path.is_dir() {
            Self::of_folder(path)?
        } else {
            Self::of_gguf(path, GgufFile::open(path)?.metadata())?
        };
        for word in END_WORDS {
            if let Some(id) = opened.tokenizer.id(word)
                && !opened.ends.contains(&id)
            {
                opened.ends.push(id);
            }
        }
        Ok(opened)
    }

    fn of_folder(path: &Path) -> Result<Self, GenerateError> {
        let folder = HfFolder::new(path);
        let text = |reason| text_error(path, reason);
        let template = folder.chat_template()?;
        let template = template.map(|one| ChatTemplate::new(&one)).transpose();
        let mut ends = folder.generation()?.end_tokens;
        let tokenizer = Tokenizer::of_folder(&folder).map_err(text)?;
        let special = folder.special_tokens()?;
        let id = |token: Option<String>| tokenizer.id(&token?);
        let begin = id(special.begin);
        ends.extend(id(special.end).filter(|id| !ends.contains(id)));
        Ok(Self {
            path: path.to_owned(),
            template: template.map_err(text)?,
            begin,
            adds_begin: special.adds_begin,
            ends,
            tokenizer,
        })
    }

    fn of_gguf(path: &Path, metadata: &Metadata) -> Result<Self, GenerateError> {
        let text = |reason| text_error(path, reason);
        let token = |key: &str| -> Result<Option<u32>, GenerateError> {
            let found = metadata.get(key).map(|_| metadata.count(key)).transpose();
            let found = found.map_err(|reason| config_error(path, reason.into()))?;
            Ok(found.and_then(|id| u32::try_from(id).ok()))
        };
        const TEMPLATE: &str = "tokenizer.chat_template";
        let template = match metadata.get(TEMPLATE) {
            None => None,
            Some(_) => {
                let template = metadata.text(TEMPLATE);
                let template = template.map_err(|reason| config_error(path, reason.into()))?;
                Some(ChatTemplate::new(template).map_err(text)?)
            }
        };
        Ok(Self {
            path: path.to_owned(),
            tokenizer: Tokenizer::from_gguf(metadata).map_err(text)?,
            template,
            begin: token("tokenizer.ggml.bos_token_id")?,
            adds_begin: None,
            ends: token("tokenizer.ggml.eos_token_id")?.into_iter().collect(),
        })
    }

    /// The tokens of a text, with those the model wants around it.
    ///
    /// # Errors
    /// [`GenerateError::Text`].
    pub fn tokens(&self, text: &str) -> Result<Vec<u32>, GenerateError> {
        let tokens = self.tokenizer.encode(text, true);
        let mut tokens = tokens.map_err(|reason| text_error(&self.path, reason))?;
        if let (Some(begin), Some(is_wanted)) = (self.begin, self.adds_begin) {
            let is_there = tokens.first() == Some(&begin);
            match (is_wanted, is_there) {
                (true, false) => tokens.insert(0, begin),
                // One that is written in the text stays.
                (false, true) if !self.is_written(text, begin) => {
                    tokens.remove(0);
                }
                _ => {}
            }
        }
        Ok(tokens)
    }

    fn is_written(&self, text: &str, token: u32) -> bool {
        let token = self.tokenizer.token(token);
        token.is_some_and(|token| text.starts_with(&token))
    }

    /// The tokens of a conversation that the model is to answer.
    ///
    /// # Errors
    /// [`GenerateError::NoTemplate`], [`GenerateError::Text`].
    pub fn chat_tokens(&self, messages: &[Message]) -> Result<Vec<u32>, GenerateError> {
        let template = self
            .template
            .as_ref()
            .ok_or_else(|| GenerateError::NoTemplate {
                file: self.path.clone(),
            })?;
        let word = |id: Option<u32>| {
            id.and_then(|id| self.tokenizer.token(id))
                .unwrap_or_default()
        };
        let ends = (word(self.begin), word(self.ends.first().copied()));
        // The template writes the tokens around it.
        let text = template.render(messages, true, (&ends.0, &ends.1));
        let tokens = text.and_then(|text| self.tokenizer.encode(&text, false));
        tokens.map_err(|reason| text_error(&self.path, reason))
    }

    /// Refuses a tokenizer whose largest id is past the rows of the embedding.
    ///
    /// # Errors
    /// [`GenerateError::Vocabulary`].
    pub fn check(&self, embedding: usize) -> Result<(), GenerateError> {
        let tokenizer = self.tokenizer.n_ids();
        if tokenizer <= embedding {
            return Ok(());
        }
        Err(GenerateError::Vocabulary {
            file: self.path.clone(),
            tokenizer,
            embedding,
        })
    }
}

/// Does something with the tensors of a GGUF file or a folder of Hugging Face's.
fn with_source<T>(
    path: &Path,
    run: impl FnOnce(&dyn WeightSource) -> Result<T, GenerateError>,
) -> Result<T, GenerateError> {
    if path.is_dir() {
        return run(&HfWeights::open(path)?);
    }
    let file = GgufFile::open(path)?;
    run(&GgufWeights::new(&file)?)
}

fn check_source(
    engine: &dyn Engine,
    source: &dyn WeightSource,
    how: Use,
    max_memory: Option<u64>,
) -> Result<(), GenerateError> {
    let limits = engine.memory_limits();
    let held = engine.device_bytes().unwrap_or(0);
    let asked = max_memory.map(|most| most.saturating_sub(held));
    let host = engine.is_in_host_memory().then(available_memory).flatten();
    let free = [limits.free, asked, host].into_iter().flatten().min();
    Ok(Footprint::of(source, how)?.check(source, free, limits.buffer)?)
}

/// One text, read in the longest passes there are.
#[must_use]
pub const fn text_of(context: usize, cache: CacheType) -> Use {
    Use {
        cache,
        texts: 1,
        context,
        pass: LONGEST,
    }
}

pub(super) fn text_error(file: &Path, reason: TextError) -> GenerateError {
    GenerateError::Text {
        file: file.to_owned(),
        reason: Box::new(reason),
    }
}

fn config_error(file: &Path, reason: ConfigError) -> GenerateError {
    GenerateError::Config {
        file: file.to_owned(),
        reason: Box::new(reason),
    }
}
