//! Chat templates: a conversation as the text that a model was trained on.
//!
//! Templates are Jinja as Hugging Face's libraries render it: `trim_blocks` and `lstrip_blocks` on, a
//! function `raise_exception`, and the methods of Python's strings that published templates call.

use minijinja::value::{Value, ValueKind};
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
        environment.add_function(
            "raise_exception",
            |reason: String| -> Result<String, Error> {
                Err(Error::new(ErrorKind::InvalidOperation, reason))
            },
        );
        environment
            .add_template_owned("chat", template.to_owned())
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
        template
            .and_then(|template| template.render(values))
            .map_err(template_error)
    }
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

/// The methods of Python's strings and dictionaries that published templates call.
fn python_method(
    _: &State<'_, '_>,
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
    let text = value.as_str().ok_or_else(unknown)?;
    let argument = arguments.first().and_then(Value::as_str);
    Ok(match (method, argument) {
        ("strip", None) => text.trim().into(),
        ("lstrip", None) => text.trim_start().into(),
        ("rstrip", None) => text.trim_end().into(),
        ("strip", Some(set)) => text.trim_matches(|c| set.contains(c)).into(),
        ("lstrip", Some(set)) => text.trim_start_matches(|c| set.contains(c)).into(),
        ("rstrip", Some(set)) => text.trim_end_matches(|c| set.contains(c)).into(),
        ("startswith", Some(start)) => text.starts_with(start).into(),
        ("endswith", Some(end)) => text.ends_with(end).into(),
        ("split", Some(at)) if !at.is_empty() => text.split(at).map(Value::from).collect(),
        ("upper", None) => text.to_uppercase().into(),
        ("lower", None) => text.to_lowercase().into(),
        _ => return Err(unknown()),
    })
}
