//! Text from a prompt, streamed as it comes: whole characters, and nothing that a stop string takes back.

use std::path::Path;

use crate::text::{TextStream, Tokenizer};

use super::model::text_error;
use super::{GenerateError, Sampler, Session};

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

/// What [`generate`] made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generated {
    /// Tokens after the prompt, without one that ended them.
    pub tokens: Vec<u32>,
    /// What ended them.
    pub ended: Ended,
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
    let text = |reason| text_error(Path::new("tokenizer"), reason);
    let mut stream = TextStream::new(tokenizer);
    let mut held = Held::new(options.stops);
    let mut all = prompt.to_vec();
    let mut candidates = session.feed(prompt)?;
    let mut is_wanted = true;
    let ended = loop {
        if all.len() - prompt.len() >= options.max_tokens {
            break Ended::MaxTokens;
        }
        let Some(token) = sampler.choose(&candidates, &all) else {
            break Ended::Token;
        };
        if options.end_tokens.contains(&token) {
            break Ended::Token;
        }
        all.push(token);
        let (shown, is_stopped) = held.push(&stream.push(token).map_err(text)?);
        if !shown.is_empty() {
            is_wanted = take(&shown);
        }
        if is_stopped {
            break Ended::Stop;
        }
        if !is_wanted {
            break Ended::Caller;
        }
        if session.position() == session.context() {
            break Ended::Context;
        }
        candidates = session.feed(&[token])?;
    };
    if ended != Ended::Stop && is_wanted {
        let (mut rest, is_stopped) = held.push(&stream.finish().map_err(text)?);
        if !is_stopped {
            rest += &held.finish();
        }
        if !rest.is_empty() {
            take(&rest);
        }
    }
    Ok(Generated {
        tokens: all.split_off(prompt.len()),
        ended,
    })
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
