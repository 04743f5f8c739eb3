//! How much longer a text can become by the replacements of a tokenizer: some double it, forty times in a row.

use serde_json::Value;

use super::TextError;

/// How many times longer all replacements together may make a text.
const MOST: f64 = 65_536.0;

/// Refuses a `tokenizer.json` whose normalizer or decoder makes a text longer without measure.
///
/// # Errors
/// [`TextError::Tokenizer`].
pub(super) fn check(tokenizer: &Value) -> Result<(), TextError> {
    for part in ["normalizer", "decoder"] {
        let growth = tokenizer.get(part).map_or(1.0, of);
        if growth > MOST {
            return Err(TextError::Tokenizer {
                reason: format!(
                    "replacements of its {part} make a text up to {growth:.1e} times longer; allowed: {MOST}"
                ),
            });
        }
    }
    Ok(())
}

/// At most, of a part and of what it consists of.
fn of(part: &Value) -> f64 {
    let parts = ["normalizers", "decoders"].map(|key| part.get(key).and_then(Value::as_array));
    let within: f64 = parts.into_iter().flatten().flatten().map(of).product();
    let Some(content) = part.get("content").and_then(Value::as_str) else {
        return within;
    };
    // What a pattern finds has at least one byte.
    let found = part.get("pattern").and_then(|one| one.get("String"));
    let found = found.and_then(Value::as_str).map_or(1, str::len).max(1);
    within * (content.len() as f64 / found as f64).max(1.0)
}
