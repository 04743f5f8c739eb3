//! Chat templates: a conversation as the text that a model was trained on.
//!
//! Templates are Jinja as Hugging Face's libraries render it: `trim_blocks` and `lstrip_blocks` on, a
//! functions `raise_exception` and `strftime_now`, blocks `generation`, and the methods of Python's strings and
//! dictionaries that published templates call.

use std::io;

use minijinja::value::{Kwargs, Rest, Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, context};
use serde::Serialize;

use super::TextError;
use crate::io::safetensors::shown;

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// What was said.
    pub content: String,
}

/// A template that was read without error.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
}

impl ChatTemplate {
    /// Reads a template.
    ///
    /// # Errors
    /// [`TextError::Template`] with the place that is no Jinja.
    pub fn new(template: &str) -> Result<Self, TextError> {
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        // A template comes from a file that may be hostile.
        environment.set_fuel(Some(1_000_000));
        environment.set_unknown_method_callback(python_method);
        environment.add_filter("indent", indent);
        environment.add_filter("format", format_within);
        environment.add_function(
            "raise_exception",
            |reason: String| -> Result<String, Error> {
                Err(Error::new(ErrorKind::InvalidOperation, reason))
            },
        );
        environment.add_function("strftime_now", |format: String| -> Result<String, Error> {
            now_as(&format, &jiff::ZonedDateTime::now())
        });
        environment
            .add_template_owned("chat", without_marks(template))
            .map_err(template_error)?;
        Ok(Self { environment })
    }

    /// The text of a conversation, ending where the model is to answer if `answer`. `begin` and `end` are
    /// the model's tokens of these meanings, which some templates write.
    ///
    /// # Errors
    /// [`TextError::Template`]: the template refuses the conversation, or asks for what is not there.
    pub fn render(
        &self,
        messages: &[Message],
        answer: bool,
        (begin, end): (&str, &str),
    ) -> Result<String, TextError> {
        let template = self.environment.get_template("chat");
        let values = context! {
            messages => messages,
            add_generation_prompt => answer,
            bos_token => begin,
            eos_token => end,
        };
        let mut written = Written::default();
        let made = template.and_then(|template| template.render_captured_to(values, &mut written));
        if written.is_full {
            return Err(TextError::Template {
                reason: format!("it writes more than {MOST_BYTES} bytes"),
            });
        }
        made.map_err(template_error)?;
        String::from_utf8(written.bytes).map_err(|_| TextError::Template {
            reason: "it writes what is no UTF-8".to_owned(),
        })
    }
}

/// Blocks `generation` mark what a model says, for those who train it, and change no text: the template with blocks that
/// are always taken in their place.
fn without_marks(template: &str) -> String {
    let mut made = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at + 2);
        made.push_str(before);
        let is_word = |c: char| c.is_ascii_alphabetic();
        let start = tag.find(is_word).unwrap_or(tag.len());
        let end = tag[start..]
            .find(|c| !is_word(c))
            .map_or(tag.len(), |length| start + length);
        let closes = tag[end..]
            .trim_start()
            .trim_start_matches(['-', '+'])
            .starts_with("%}");
        let is_mark = closes
            && tag[..start]
                .chars()
                .all(|c| c.is_whitespace() || "-+".contains(c));
        match &tag[start..end] {
            "generation" if is_mark => {
                made.push_str(&tag[..start]);
                made.push_str("if true");
            }
            "endgeneration" if is_mark => {
                made.push_str(&tag[..start]);
                made.push_str("endif");
            }
            _ => made.push_str(&tag[..end]),
        }
        rest = &tag[end..];
    }
    made + rest
}

/// A moment in the format of C's `strftime`.
fn now_as(format: &str, now: &jiff::ZonedDateTime) -> Result<String, Error> {
    // The longest names of months and days have 9 letters; widths may be written out.
    let digits = format.split(|c: char| !c.is_ascii_digit());
    for width in digits.filter(|digits| !digits.is_empty()) {
        if width
            .parse()
            .map_or(true, |width: usize| width > MOST_COLUMNS)
        {
            return Err(too_wide("strftime_now", width));
        }
    }
    let made = jiff::fmt::strtime::format(format, now);
    made.map_err(|reason| {
        let reason = format!("strftime_now of `{}`: {reason}", shown(format));
        Error::new(ErrorKind::InvalidOperation, reason)
    })
}

/// Bytes of a conversation, at most: no model has a context for more.
const MOST_BYTES: usize = 64 << 20;

/// Columns and digits that a filter may fill up to.
const MOST_COLUMNS: usize = 1000;

/// What a template has written.
#[derive(Default)]
struct Written {
    bytes: Vec<u8>,
    is_full: bool,
}

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > MOST_BYTES {
            self.is_full = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Every line but the first begins with so many spaces, the first and empty ones too where asked for.
#[expect(clippy::needless_pass_by_value, reason = "the shape that filters have")]
fn indent(
    text: String,
    width: Option<usize>,
    first: Option<bool>,
    blank: Option<bool>,
    named: Kwargs,
) -> Result<String, Error> {
    let width = width.or(named.get("width")?).unwrap_or(4);
    let first = first.or(named.get("first")?);
    let blank = blank.or(named.get("blank")?);
    named.assert_all_used()?;
    if width > MOST_COLUMNS {
        return Err(too_wide("indent", &width.to_string()));
    }
    let spaces = " ".repeat(width);
    let lines = text.split('\n').enumerate().map(|(at, line)| {
        let is_in = match at {
            0 => first.unwrap_or(false),
            _ => !line.is_empty() || blank.unwrap_or(false),
        };
        if is_in {
            format!("{spaces}{line}")
        } else {
            line.to_owned()
        }
    });
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

fn too_wide(filter: &str, width: &str) -> Error {
    let reason = format!("{filter} to a width of {width}; allowed: up to {MOST_COLUMNS}");
    Error::new(ErrorKind::InvalidOperation, reason)
}

/// The filter of the library, with widths and digits that are written out and not large.
#[expect(clippy::needless_pass_by_value, reason = "the shape that filters have")]
fn format_within(
    state: &State<'_, '_>,
    template: Value,
    values: Rest<Value>,
) -> Result<Value, Error> {
    let text = template.as_str().unwrap_or_default();
    let mut numbers = text.split(|c: char| !c.is_ascii_digit());
    let is_wide = |number: &&str| {
        !number.is_empty() && number.parse().map_or(true, |n: usize| n > MOST_COLUMNS)
    };
    if let Some(number) = numbers.find(is_wide) {
        return Err(too_wide("format", number));
    }
    if text.contains('*') {
        return Err(too_wide("format", "an argument"));
    }
    minijinja::filters::format(state, &template, values)
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the shape that map_err calls for"
)]
fn template_error(reason: Error) -> TextError {
    TextError::Template {
        reason: shown(&format!("{reason:#}")),
    }
}

/// Every word with a large first letter and small others.
fn title(text: &str) -> String {
    let mut is_within = false;
    let letters = text.chars().flat_map(|letter| {
        let was_within = std::mem::replace(&mut is_within, letter.is_alphabetic());
        let small: String = match was_within {
            true => letter.to_lowercase().collect(),
            false => letter.to_uppercase().collect(),
        };
        small.chars().collect::<Vec<_>>()
    });
    letters.collect()
}

/// The methods of Python's strings and dictionaries that published templates call.
fn python_method(
    state: &State<'_, '_>,
    value: &Value,
    method: &str,
    arguments: &[Value],
) -> Result<Value, Error> {
    let unknown = || Error::from(ErrorKind::UnknownMethod);
    if value.kind() == ValueKind::Map && method == "get" {
        let key = arguments.first().ok_or_else(unknown)?;
        let found = value.get_item(key)?;
        let default = arguments.get(1).cloned().unwrap_or(Value::from(()));
        return Ok(if found.is_undefined() { default } else { found });
    }
    if value.kind() == ValueKind::Map && arguments.is_empty() {
        match method {
            "items" => return state.apply_filter("items", std::slice::from_ref(value)),
            "keys" => return Ok(value.try_iter()?.collect()),
            "values" => {
                let of = |key: Value| value.get_item(&key);
                return value.try_iter()?.map(of).collect();
            }
            _ => return Err(unknown()),
        }
    }
    let text = value.as_str().ok_or_else(unknown)?;
    let argument = match arguments.first().filter(|one| !one.is_none()) {
        None => None,
        Some(one) => Some(one.as_str().ok_or_else(|| {
            let reason = format!("{method} of a string takes a string, not {one}");
            Error::new(ErrorKind::InvalidOperation, reason)
        })?),
    };
    let second = arguments.get(1);
    let takes_two = ["split", "replace"].contains(&method);
    if arguments.len() > 2 || (second.is_some() && !takes_two) {
        return Err(Error::from(ErrorKind::TooManyArguments));
    }
    Ok(match (method, argument) {
        ("strip", None) => text.trim().into(),
        ("lstrip", None) => text.trim_start().into(),
        ("rstrip", None) => text.trim_end().into(),
        ("strip", Some(set)) => text.trim_matches(|c| set.contains(c)).into(),
        ("lstrip", Some(set)) => text.trim_start_matches(|c| set.contains(c)).into(),
        ("rstrip", Some(set)) => text.trim_end_matches(|c| set.contains(c)).into(),
        ("startswith", Some(start)) => text.starts_with(start).into(),
        ("endswith", Some(end)) => text.ends_with(end).into(),
        ("split", Some(at)) if !at.is_empty() => match second {
            None => text.split(at).map(Value::from).collect(),
            Some(most) => match usize::try_from(most.clone()) {
                Ok(most) => text
                    .splitn(most.saturating_add(1), at)
                    .map(Value::from)
                    .collect(),
                Err(_) if most.is_integer() => text.split(at).map(Value::from).collect(),
                Err(reason) => return Err(reason),
            },
        },
        ("split", None) if second.is_none() => text.split_whitespace().map(Value::from).collect(),
        ("replace", Some(from)) => {
            let to = second.and_then(Value::as_str).ok_or_else(unknown)?;
            let longer = text.matches(from).count().saturating_mul(to.len());
            if longer > MOST_BYTES {
                return Err(too_wide("replace", &longer.to_string()));
            }
            text.replace(from, to).into()
        }
        ("title", None) => title(text).into(),
        ("count", Some(part)) if !part.is_empty() => text.matches(part).count().into(),
        ("upper", None) => text.to_uppercase().into(),
        ("lower", None) => text.to_lowercase().into(),
        _ => return Err(unknown()),
    })
}
