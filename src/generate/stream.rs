//! Text from a prompt, streamed as it comes: whole characters, and nothing that a stop string takes back.

use std::path::Path;

use crate::text::{TextStream, Tokenizer};

use super::model::text_error;
use super::{Candidates, GenerateError, Sampler, Session};

/// How far a text goes.
#[derive(Debug, Clone, Copy)]
pub struct GenerateOptions<'a> {
    /// Tokens after the prompt, at most.
    pub max_tokens: usize,
    /// Tokens that end the text; they are not part of it.
    pub end_tokens: &'a [u32],
    /// Strings that end the text; they are not part of it.
    pub stops: &'a [String],
}

/// What ended a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// A token that ends it.
    Token,
    /// A string that ends it.
    Stop,
    /// As many tokens as were asked for.
    MaxTokens,
    /// No position was left.
    Context,
    /// Whoever took the text wanted no more.
    Caller,
}

impl Ended {
    /// In words, for messages.
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Token => "the model ended it",
            Self::Stop => "a stop string",
            Self::MaxTokens => "the most tokens",
            Self::Context => "the context is full",
            Self::Caller => "stopped",
        }
    }
}

/// What [`generate`] made, or [`generate_each`] of each text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generated {
    /// Tokens after the prompt, without one that ended them.
    pub tokens: Vec<u32>,
    /// What ended them.
    pub ended: Ended,
    /// How many of them were made when the first piece of text was given out; a piece may wait for several.
    pub before_shown: usize,
}

/// Reads the prompt behind what the session holds and goes on with it; `take` gets each piece of text and says
/// whether to go on.
///
/// # Errors
/// As [`Session::feed`]; [`GenerateError::Text`] for tokens that are no text.
pub fn generate(
    session: &mut Session<'_>,
    tokenizer: &Tokenizer,
    prompt: &[u32],
    sampler: &Sampler,
    options: GenerateOptions<'_>,
    take: &mut dyn FnMut(&str) -> bool,
) -> Result<Generated, GenerateError> {
    let mut take = |_: usize, piece: &str| take(piece);
    let made = generate_each(
        session,
        tokenizer,
        &[prompt.to_vec()],
        sampler,
        options,
        &mut take,
    )?;
    made.into_iter().next().ok_or(GenerateError::EmptyPrompt)
}

/// The same for a prompt of each text of a session, in passes of them all; `take` gets each piece with the number of
/// its text. What a text becomes does not depend on the others, but for roundings of products of several rows.
///
/// # Errors
/// As [`Session::feed_each`]; [`GenerateError::Text`] for tokens that are no text.
pub fn generate_each(
    session: &mut Session<'_>,
    tokenizer: &Tokenizer,
    prompts: &[Vec<u32>],
    sampler: &Sampler,
    options: GenerateOptions<'_>,
    take: &mut dyn FnMut(usize, &str) -> bool,
) -> Result<Vec<Generated>, GenerateError> {
    if prompts.iter().any(Vec::is_empty) {
        return Err(GenerateError::EmptyPrompt);
    }
    let new = |prompt: &Vec<u32>| -> Result<Growing<'_>, GenerateError> {
        let stream = TextStream::behind(tokenizer, prompt);
        Ok(Growing {
            n_prompt: prompt.len(),
            all: prompt.clone(),
            stream: stream.map_err(|reason| text_error(Path::new("tokenizer"), reason))?,
            held: Held::new(options.stops),
            ended: None,
            before_shown: None,
        })
    };
    let mut texts = prompts.iter().map(new).collect::<Result<Vec<_>, _>>()?;
    let given: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
    let mut candidates = session.feed_each(&given)?;
    loop {
        for (index, text) in texts.iter_mut().enumerate() {
            if text.ended.is_none() {
                let is_full = session.positions()[index] == session.context();
                let mut take = |piece: &str| take(index, piece);
                text.step(&candidates[index], sampler, options, is_full, &mut take)?;
            }
        }
        let next = |text: &Growing<'_>| match text.ended {
            None => text.all[text.all.len() - 1..].to_vec(),
            Some(_) => Vec::new(),
        };
        let next: Vec<Vec<u32>> = texts.iter().map(next).collect();
        if next.iter().all(Vec::is_empty) {
            break;
        }
        let given: Vec<&[u32]> = next.iter().map(Vec::as_slice).collect();
        candidates = match session.feed_each(&given) {
            // What was made is not lost.
            Err(GenerateError::Stopped { .. }) => {
                for (index, text) in texts.iter_mut().enumerate() {
                    if text.ended.is_none() {
                        text.ended = Some(Ended::Caller);
                        let rest = text.rest()?;
                        if !rest.is_empty() {
                            take(index, &rest);
                        }
                    }
                }
                break;
            }
            found => found?,
        };
    }
    let made = texts.into_iter().map(|mut text| {
        let tokens = text.all.split_off(text.n_prompt);
        Generated {
            ended: text.ended.unwrap_or(Ended::MaxTokens),
            before_shown: text.before_shown.unwrap_or(tokens.len()),
            tokens,
        }
    });
    Ok(made.collect())
}

/// A text in the making.
struct Growing<'a> {
    /// Prompt and what came after it.
    all: Vec<u32>,
    n_prompt: usize,
    stream: TextStream<'a>,
    held: Held<'a>,
    ended: Option<Ended>,
    before_shown: Option<usize>,
}

impl Growing<'_> {
    /// Chooses the next token and shows what can be shown of it.
    fn step(
        &mut self,
        candidates: &Candidates,
        sampler: &Sampler,
        options: GenerateOptions<'_>,
        is_full: bool,
        take: &mut dyn FnMut(&str) -> bool,
    ) -> Result<(), GenerateError> {
        let text = |reason| text_error(Path::new("tokenizer"), reason);
        let mut is_wanted = true;
        let made = self.all.len() - self.n_prompt;
        let chosen = sampler.choose(candidates, &self.all);
        let chosen = chosen.filter(|token| !options.end_tokens.contains(token));
        let ended = match chosen {
            _ if made >= options.max_tokens => Some(Ended::MaxTokens),
            None => Some(Ended::Token),
            Some(token) => {
                self.all.push(token);
                let (shown, is_stopped) = self.held.push(&self.stream.push(token).map_err(text)?);
                if !shown.is_empty() {
                    self.before_shown.get_or_insert(made + 1);
                    is_wanted = take(&shown);
                }
                if is_stopped {
                    Some(Ended::Stop)
                } else if !is_wanted {
                    Some(Ended::Caller)
                } else if made + 1 >= options.max_tokens {
                    // The token after it would not be taken.
                    Some(Ended::MaxTokens)
                } else if is_full {
                    Some(Ended::Context)
                } else {
                    None
                }
            }
        };
        if ended.is_some_and(|ended| ended != Ended::Stop) && is_wanted {
            let rest = self.rest()?;
            if !rest.is_empty() {
                take(&rest);
            }
        }
        self.ended = ended;
        Ok(())
    }

    /// What was held back of a text that has ended.
    fn rest(&mut self) -> Result<String, GenerateError> {
        let last = self.stream.finish();
        let last = last.map_err(|reason| text_error(Path::new("tokenizer"), reason))?;
        let (mut rest, is_stopped) = self.held.push(&last);
        if !is_stopped {
            rest += &self.held.finish();
        }
        Ok(rest)
    }
}

/// Text whose end may be the beginning of a stop string.
struct Held<'a> {
    stops: &'a [String],
    text: String,
}

impl<'a> Held<'a> {
    const fn new(stops: &'a [String]) -> Self {
        Self {
            stops,
            text: String::new(),
        }
    }

    /// What can be shown after `more` came, and whether a stop string ended it.
    fn push(&mut self, more: &str) -> (String, bool) {
        self.text += more;
        let found = self.stops.iter().filter(|stop| !stop.is_empty());
        let first = found.filter_map(|stop| self.text.find(stop.as_str())).min();
        if let Some(at) = first {
            self.text.truncate(at);
            return (std::mem::take(&mut self.text), true);
        }
        let kept = self
            .stops
            .iter()
            .map(|stop| overlap(&self.text, stop))
            .max();
        let rest = self.text.split_off(self.text.len() - kept.unwrap_or(0));
        (std::mem::replace(&mut self.text, rest), false)
    }

    fn finish(&mut self) -> String {
        std::mem::take(&mut self.text)
    }
}

/// Bytes at the end of `text` that a stop string may begin with.
fn overlap(text: &str, stop: &str) -> usize {
    let ends = stop.char_indices().map(|(at, _)| at).rev();
    let mut lengths = ends.filter(|&length| text.ends_with(&stop[..length]));
    lengths.next().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_string_in_pieces_is_never_shown() {
        let stops = ["END".to_owned(), "\u{e9}t\u{e9}".to_owned()];
        let mut held = Held::new(&stops);
        assert_eq!(held.push("the E"), ("the ".to_owned(), false));
        assert_eq!(held.push("N"), (String::new(), false));
        assert_eq!(held.push("O E"), ("ENO ".to_owned(), false));
        assert_eq!(held.push("ND and"), (String::new(), true));
        let mut held = Held::new(&stops);
        assert_eq!(held.push("un \u{e9}t"), ("un ".to_owned(), false));
        assert_eq!(held.finish(), "\u{e9}t");
    }

    #[test]
    fn an_empty_stop_string_stops_nothing() {
        let stops = [String::new()];
        let mut held = Held::new(&stops);
        assert_eq!(held.push("abc"), ("abc".to_owned(), false));
    }
}
