//! The metadata of a GGUF file that describe the tokenizer of a folder: byte-level BPE.
//!
//! A GGUF file names the cuts of a text instead of spelling them out, so what `tokenizer.json` spells out is compared
//! with the cuts of every name known (see `byte_level`). What such a file has no place for is refused by name: another
//! kind of model, other cuts, tokens that take the spaces beside them.

use serde_json::{Map, Value as Json};

use super::byte_level::{name_of_cuts, parts_of};
use super::{TextError, Tokenizer};
use crate::io::gguf::{Array, Value};
use crate::io::hf::{HfFolder, SpecialTokens};
use crate::io::read_text;
use crate::io::safetensors::shown;

const FILE: &str = "tokenizer.json";

/// `tokenizer.ggml.token_type` of what is no plain token.
const NORMAL: i32 = 1;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;

/// The pairs under `tokenizer.` of a model with `n_tokens` rows of embedding. Rows that no token has get names of their
/// own, as unused ones.
///
/// # Errors
/// [`TextError::NoTokenizer`] without a `tokenizer.json`, [`TextError::Entry`] and [`TextError::Unknown`] for what has no
/// place in a GGUF file, [`TextError::NoSuchToken`] for a token past the rows.
pub fn gguf_tokenizer(
    folder: &HfFolder,
    n_tokens: usize,
) -> Result<Vec<(String, Value)>, TextError> {
    let path = folder.tokenizer_path();
    if !path.exists() {
        return Err(TextError::NoTokenizer {
            folder: folder.path().to_owned(),
        });
    }
    let json = serde_json::from_str(&read_text(path)?).map_err(|reason| TextError::Tokenizer {
        reason: shown(&reason.to_string()),
    })?;
    let beside = Beside {
        special: folder.special_tokens()?,
        end: folder.generation()?.end_tokens.first().copied(),
        template: folder.chat_template()?,
    };
    described(&json, beside, n_tokens)
}

/// What stands in the files beside a `tokenizer.json`.
struct Beside {
    special: SpecialTokens,
    /// What ends a text.
    end: Option<u32>,
    template: Option<String>,
}

fn described(
    json: &Json,
    beside: Beside,
    n_tokens: usize,
) -> Result<Vec<(String, Value)>, TextError> {
    let model = &json["model"];
    let merges = merges(model)?;
    let pre = cuts(json, model, merges.is_empty())?;
    let (tokens, types) = tokens(json, model, n_tokens)?;
    same_ids(json, &tokens, &types)?;
    let ends = Ends::of(&json["post_processor"])?;
    let id = |token: &Option<String>| -> Option<u32> {
        let token = token.as_ref()?;
        let at = tokens.iter().position(|one| one == token)?;
        u32::try_from(at).ok()
    };
    let begin = id(&ends.begin).or_else(|| id(&beside.special.begin));
    let end = id(&ends.end).or_else(|| id(&beside.special.end));
    let end = end.or(beside.end);
    let text = |text: &str| Value::String(text.to_owned());
    let mut pairs = vec![
        ("model", text("gpt2")),
        ("pre", text(pre)),
        ("tokens", Value::Array(Array::String(tokens))),
        ("token_type", Value::Array(Array::I32(types))),
        ("merges", Value::Array(Array::String(merges))),
        ("add_bos_token", Value::Bool(ends.begin.is_some())),
        ("add_eos_token", Value::Bool(ends.end.is_some())),
    ];
    pairs.extend(begin.map(|id| ("bos_token_id", Value::U32(id))));
    pairs.extend(end.map(|id| ("eos_token_id", Value::U32(id))));
    let named = pairs
        .into_iter()
        .map(|(key, value)| (format!("tokenizer.ggml.{key}"), value));
    let mut pairs: Vec<(String, Value)> = named.collect();
    let template = beside.template.map(Value::String);
    pairs.extend(template.map(|one| ("tokenizer.chat_template".to_owned(), one)));
    Ok(pairs)
}

fn refuse(what: &str, found: &Json, expected: &'static str) -> TextError {
    TextError::Entry {
        what: format!("{what} of {FILE}"),
        found: shown(&found.to_string()),
        expected,
    }
}

/// The name of the cuts; without merges a text becomes its bytes wherever it is cut.
fn cuts(json: &Json, model: &Json, has_no_merges: bool) -> Result<&'static str, TextError> {
    if model["type"] != "BPE" {
        return Err(refuse("model.type", &model["type"], "\"BPE\" of bytes"));
    }
    for key in [
        "dropout",
        "continuing_subword_prefix",
        "end_of_word_suffix",
        "byte_fallback",
    ] {
        let is_absent = matches!(&model[key], Json::Null | Json::Bool(false));
        if !is_absent && model[key] != "" {
            return Err(refuse(&format!("model.{key}"), &model[key], "none"));
        }
    }
    let decoders = parts_of(&json["decoder"], "decoders");
    if !matches!(decoders.as_slice(), [one] if one["type"] == "ByteLevel") {
        return Err(refuse("decoder", &json["decoder"], "ByteLevel"));
    }
    let steps = &json["pre_tokenizer"];
    let is_of_bytes = parts_of(steps, "pretokenizers")
        .iter()
        .all(|one| one["type"] == "ByteLevel" && one["add_prefix_space"] == false);
    if has_no_merges && json["normalizer"].is_null() && is_of_bytes && !steps.is_null() {
        return Ok("gpt-2");
    }
    let ignores_merges = model["ignore_merges"] == true;
    name_of_cuts(steps, &json["normalizer"], ignores_merges).ok_or_else(|| {
        refuse(
            "pre_tokenizer, normalizer and model.ignore_merges",
            &Json::from(vec![
                steps.clone(),
                json["normalizer"].clone(),
                ignores_merges.into(),
            ]),
            "those of a name of tokenizer.ggml.pre that is known",
        )
    })
}

/// Pairs with a space between, as they are or as two words.
fn merges(model: &Json) -> Result<Vec<String>, TextError> {
    let all = model["merges"].as_array();
    let all = all.ok_or_else(|| refuse("model.merges", &model["merges"], "a list"))?;
    let one = |merge: &Json| {
        let pair = match merge {
            Json::String(pair) => Some(pair.clone()),
            Json::Array(pair) => match pair.as_slice() {
                [Json::String(left), Json::String(right)] => Some(format!("{left} {right}")),
                _ => None,
            },
            _ => None,
        };
        let is_two = |pair: &String| pair.split(' ').filter(|one| !one.is_empty()).count() == 2;
        pair.filter(is_two)
            .ok_or_else(|| refuse("model.merges", merge, "two tokens without spaces"))
    };
    all.iter().map(one).collect()
}

/// Tokens by their ids, and what each is for.
fn tokens(
    json: &Json,
    model: &Json,
    n_tokens: usize,
) -> Result<(Vec<String>, Vec<i32>), TextError> {
    let none = Map::new();
    let mut tokens: Vec<Option<String>> = vec![None; n_tokens];
    let mut types = vec![NORMAL; n_tokens];
    let place = |id: &Json, token: &str| -> Result<usize, TextError> {
        let id = id.as_u64().unwrap_or(u64::MAX);
        let at = usize::try_from(id).ok().filter(|&at| at < n_tokens);
        at.ok_or_else(|| TextError::NoSuchToken {
            what: format!("{} of {FILE}", shown(token)),
            id,
            n_tokens,
        })
    };
    for (token, id) in model["vocab"].as_object().unwrap_or(&none) {
        let at = place(id, token)?;
        tokens[at] = Some(token.clone());
    }
    for one in json["added_tokens"].as_array().into_iter().flatten() {
        let content = one["content"].as_str();
        let content = content.ok_or_else(|| refuse("added_tokens", one, "a text `content`"))?;
        for key in ["lstrip", "rstrip", "single_word"] {
            if one[key] == true {
                return Err(refuse(&format!("added_tokens {key}"), one, "false"));
            }
        }
        let at = place(&one["id"], content)?;
        tokens[at] = Some(content.to_owned());
        types[at] = match one["special"] == true {
            true => CONTROL,
            false => USER_DEFINED,
        };
    }
    let mut named = Vec::new();
    for (at, token) in tokens.into_iter().enumerate() {
        if token.is_none() {
            types[at] = UNUSED;
        }
        named.push(token.unwrap_or_else(|| format!("[PAD{at}]")));
    }
    Ok((named, types))
}

/// Refuses ids that are not those that the file's own reader gives: it numbers added tokens anew where they leave a gap.
fn same_ids(json: &Json, tokens: &[String], types: &[i32]) -> Result<(), TextError> {
    let own = Tokenizer::from_json(json.to_string().as_bytes())?;
    for (at, (token, kind)) in tokens.iter().zip(types).enumerate() {
        let id = own.id(token);
        if *kind != UNUSED && id.and_then(|id| usize::try_from(id).ok()) != Some(at) {
            return Err(TextError::Entry {
                what: format!(
                    "the id of token {} of {FILE}, which says {at},",
                    shown(token)
                ),
                found: id.map_or_else(|| "missing".to_owned(), |id| id.to_string()),
                expected: "the same, without gaps before added tokens",
            });
        }
    }
    Ok(())
}

/// What goes around a text.
struct Ends {
    begin: Option<String>,
    end: Option<String>,
}

impl Ends {
    fn of(processor: &Json) -> Result<Self, TextError> {
        const ALLOWED: &str =
            "nothing, or a template of at most one token on either side of a text";
        let mut ends = Self {
            begin: None,
            end: None,
        };
        for part in parts_of(processor, "processors") {
            match part["type"].as_str() {
                Some("ByteLevel") => {}
                Some("TemplateProcessing") => {
                    let single = part["single"].as_array().map_or(&[][..], Vec::as_slice);
                    let mut is_behind = false;
                    for piece in single {
                        let special = piece["SpecialToken"]["id"].as_str();
                        let place = match is_behind {
                            true => &mut ends.end,
                            false => &mut ends.begin,
                        };
                        match special {
                            None if piece.get("Sequence").is_some() && !is_behind => {
                                is_behind = true;
                            }
                            Some(token) if place.is_none() => *place = Some(token.to_owned()),
                            _ => return Err(refuse("post_processor", part, ALLOWED)),
                        }
                    }
                }
                _ => return Err(refuse("post_processor", part, ALLOWED)),
            }
        }
        Ok(ends)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::io::gguf::Metadata;
    use crate::text::gguf::added_token;
    use crate::text::{Tokenizer, byte_tokenizer};

    /// A tokenizer of the bytes, some merges and a token of each kind.
    fn tokenizer() -> Json {
        let mut json: Json = serde_json::from_str(&byte_tokenizer()).unwrap();
        for (id, token) in [(256, "th"), (257, "the"), (258, "12")] {
            json["model"]["vocab"][token] = json!(id);
        }
        json["model"]["merges"] = json!([["t", "h"], ["th", "e"], ["1", "2"]]);
        json["added_tokens"] = Json::from(vec![
            added_token(259, "<s>", true),
            added_token(260, "<tool>", false),
        ]);
        json["pre_tokenizer"] = json!({"type": "Sequence", "pretokenizers": [
            {"type": "Digits", "individual_digits": true},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false},
        ]});
        json["post_processor"] = json!({"type": "Sequence", "processors": [
            {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true},
            {"type": "TemplateProcessing", "single": [
                {"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
             "pair": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                      {"Sequence": {"id": "B", "type_id": 1}}],
             "special_tokens": {"<s>": {"id": "<s>", "ids": [259], "tokens": ["<s>"]}}},
        ]});
        json
    }

    fn made(json: &Json, n_tokens: usize) -> Result<Vec<(String, Value)>, TextError> {
        let beside = Beside {
            special: SpecialTokens {
                end: Some("<tool>".to_owned()),
                ..SpecialTokens::default()
            },
            end: Some(7),
            template: Some("{{ messages }}".to_owned()),
        };
        described(json, beside, n_tokens)
    }

    #[test]
    fn texts_become_the_same_tokens() {
        let json = tokenizer();
        let metadata = Metadata::new(made(&json, 264).unwrap()).unwrap();
        let [own, again] = [
            Tokenizer::from_json(json.to_string().as_bytes()).unwrap(),
            Tokenizer::from_gguf(&metadata).unwrap(),
        ];
        for text in [
            "the 12 th <s>x<tool>\u{e9}",
            "",
            " the  the\n\n1212",
            "\u{1f600}",
        ] {
            for ends in [false, true] {
                assert_eq!(
                    own.encode(text, ends).unwrap(),
                    again.encode(text, ends).unwrap()
                );
            }
        }
        assert_eq!(again.encode("the", true).unwrap(), [259, 257]);
        assert_eq!(metadata.text("tokenizer.ggml.pre").unwrap(), "smollm");
        assert_eq!(metadata.count("tokenizer.ggml.eos_token_id").unwrap(), 260);
        assert_eq!(metadata.count("tokenizer.ggml.bos_token_id").unwrap(), 259);
        assert_eq!(
            metadata.text("tokenizer.chat_template").unwrap(),
            "{{ messages }}"
        );
        // Rows without a token.
        let tokens = metadata.texts("tokenizer.ggml.tokens").unwrap();
        assert_eq!([&tokens[261], &tokens[263]], ["[PAD261]", "[PAD263]"]);
        assert_eq!(
            metadata.integers("tokenizer.ggml.token_type").unwrap()[261],
            UNUSED
        );
        // Merges as files had them before.
        let mut older = json.clone();
        older["model"]["merges"] = json!(["t h", "th e", "1 2"]);
        assert_eq!(made(&older, 264).unwrap(), made(&json, 264).unwrap());
        // Bytes alone.
        let bytes: Json = serde_json::from_str(&byte_tokenizer()).unwrap();
        let metadata = Metadata::new(made(&bytes, 256).unwrap()).unwrap();
        let again = Tokenizer::from_gguf(&metadata).unwrap();
        assert_eq!(
            again.encode("a 1\u{e9}", true).unwrap(),
            [97, 32, 49, 0xc3, 0xa9]
        );
    }

    #[test]
    fn what_has_no_place_is_named() {
        type Change = fn(&mut Json);
        let cases: [(Change, usize, &str); 10] = [
            (
                |json| json["model"]["type"] = json!("Unigram"),
                264,
                "model.type of tokenizer.json is \"Unigram\"",
            ),
            (
                |json| json["model"]["byte_fallback"] = json!(true),
                264,
                "model.byte_fallback",
            ),
            (
                |json| {
                    json["pre_tokenizer"]["pretokenizers"][0]["individual_digits"] = json!(false)
                },
                264,
                "pre_tokenizer",
            ),
            (
                |json| json["normalizer"] = json!({"type": "Lowercase"}),
                264,
                "normalizer",
            ),
            (
                |json| json["model"]["ignore_merges"] = json!(true),
                264,
                "ignore_merges",
            ),
            (
                |json| json["decoder"] = json!({"type": "Metaspace"}),
                264,
                "decoder of tokenizer.json",
            ),
            (
                |json| json["added_tokens"][0]["lstrip"] = json!(true),
                264,
                "added_tokens lstrip",
            ),
            (
                |json| json["model"]["merges"][0] = json!(["t h", "e"]),
                264,
                "two tokens without spaces",
            ),
            (
                |json| json["added_tokens"][0]["id"] = json!(262),
                264,
                "without gaps before added tokens",
            ),
            (|_| (), 260, "is token 260; allowed: 0 to 259"),
        ];
        for (change, n_tokens, expected) in cases {
            let mut json = tokenizer();
            change(&mut json);
            let error = made(&json, n_tokens).unwrap_err().to_string();
            assert!(error.contains(expected), "{expected}: {error}");
        }
        let mut json = tokenizer();
        json["post_processor"] =
            json!({"type": "BertProcessing", "sep": ["a", 1], "cls": ["b", 2]});
        let error = made(&json, 264).unwrap_err().to_string();
        assert!(
            error.contains("post_processor of tokenizer.json"),
            "{error}"
        );
    }
}
