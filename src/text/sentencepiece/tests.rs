//! Tokens and texts are those that SentencePiece itself makes with the same models.

use serde_json::Value as Json;

use super::super::{TextStream, Tokenizer};
use super::*;
use crate::io::gguf::{Array, Metadata, Value};
use crate::io::hf::{AddedToken, SpecialTokens};
use crate::io::read_bytes;

fn data(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data");
    read_bytes(format!("{folder}/{name}")).expect("test data")
}

fn texts(of: &str) -> Vec<(String, Vec<u32>, String)> {
    let json: Json = serde_json::from_slice(&data("sentencepiece.json")).expect("JSON");
    let text = |value: &Json| value.as_str().expect("a text").to_owned();
    let cases = json[of].as_array().expect("a list").iter();
    let tokens = |value: &Json| serde_json::from_value(value.clone()).expect("tokens");
    cases
        .map(|case| {
            (
                text(&case["text"]),
                tokens(&case["tokens"]),
                text(&case["decoded"]),
            )
        })
        .collect()
}

fn model(name: &str) -> Model {
    read_model(&data(name)).expect("a model").model
}

/// The metadata that a GGUF file has for a model.
fn metadata(of: &Model) -> Vec<(&'static str, Value)> {
    let kind = if of.method == Method::Bpe {
        "llama"
    } else {
        "t5"
    };
    let flag = |is: bool| Value::Bool(is);
    vec![
        ("tokenizer.ggml.model", Value::String(kind.to_owned())),
        (
            "tokenizer.ggml.tokens",
            Value::Array(Array::String(of.texts.clone())),
        ),
        (
            "tokenizer.ggml.scores",
            Value::Array(Array::F32(of.scores.clone())),
        ),
        (
            "tokenizer.ggml.token_type",
            Value::Array(Array::I32(
                of.kinds.iter().map(|&kind| kind as i32 + 1).collect(),
            )),
        ),
        (
            "tokenizer.ggml.add_space_prefix",
            flag(of.prefix == Prefix::Each),
        ),
        (
            "tokenizer.ggml.remove_extra_whitespaces",
            flag(of.joins_spaces),
        ),
        (
            "tokenizer.ggml.precompiled_charsmap",
            Value::Array(Array::I8(
                of.charsmap.iter().map(|byte| byte.cast_signed()).collect(),
            )),
        ),
        ("tokenizer.ggml.bos_token_id", Value::U32(1)),
        ("tokenizer.ggml.eos_token_id", Value::U32(2)),
        ("tokenizer.ggml.unknown_token_id", Value::U32(0)),
    ]
}

fn from_gguf(pairs: &[(&'static str, Value)]) -> Result<Tokenizer, TextError> {
    let pairs = pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), value.clone()));
    Tokenizer::from_gguf(&Metadata::new(pairs.collect()).expect("no key twice"))
}

/// The same with `value` at `key`; without the key if there is none.
fn with(of: &Model, key: &'static str, value: Option<Value>) -> Result<Tokenizer, TextError> {
    let mut pairs = metadata(of);
    pairs.retain(|(found, _)| *found != key);
    pairs.extend(value.map(|value| (key, value)));
    from_gguf(&pairs)
}

#[test]
fn bpe_makes_the_tokens_of_the_original_from_either_file() {
    let file =
        Tokenizer::from_sentencepiece(&data("sentencepiece_bpe.model"), &SpecialTokens::default());
    let gguf = from_gguf(&metadata(&model("sentencepiece_bpe.model")));
    for tokenizer in [file.expect("a tokenizer"), gguf.expect("a tokenizer")] {
        assert_eq!(tokenizer.n_tokens(), 500);
        for (text, tokens, decoded) in texts("bpe") {
            assert_eq!(
                tokenizer.encode(&text, false).expect("encodes"),
                tokens,
                "{text:?}"
            );
            assert_eq!(tokenizer.decode(&tokens).expect("decodes"), decoded);
            let around = tokenizer.encode(&text, true).expect("encodes");
            assert_eq!(
                around,
                [&[1], tokens.as_slice()].concat(),
                "begins with <s>"
            );
        }
        assert!(tokenizer.encode("", false).expect("encodes").is_empty());
    }
}

#[test]
fn unigrams_make_the_tokens_of_the_original_from_either_file() {
    let file = Tokenizer::from_sentencepiece(
        &data("sentencepiece_unigram.model"),
        &SpecialTokens::default(),
    );
    let gguf = from_gguf(&metadata(&model("sentencepiece_unigram.model"))).expect("a tokenizer");
    for tokenizer in [&file.expect("a tokenizer"), &gguf] {
        for (text, tokens, decoded) in texts("unigram") {
            assert_eq!(
                tokenizer.encode(&text, false).expect("encodes"),
                tokens,
                "{text:?}"
            );
            // SentencePiece writes two question marks for what it does not know.
            let decoded = decoded.replace(" \u{2047} ", "<unk>");
            assert_eq!(tokenizer.decode(&tokens).expect("decodes"), decoded);
        }
    }
    let around = gguf.encode("x", true).expect("encodes");
    assert_eq!(around, [3, 139, 2], "ends with </s>");
}

#[test]
fn a_tokenizer_json_with_a_metaspace_makes_the_same_tokens() {
    let tokenizer =
        Tokenizer::from_json(&data("sentencepiece_metaspace.json")).expect("a tokenizer");
    for (text, tokens, decoded) in texts("bpe") {
        assert_eq!(tokenizer.decode(&tokens).expect("decodes"), decoded);
        // It takes a space at the beginning for the one that it would put there.
        if !text.starts_with(' ') {
            assert_eq!(
                tokenizer.encode(&text, false).expect("encodes"),
                tokens,
                "{text:?}"
            );
        }
    }
    let special = SpecialTokens {
        is_legacy: Some(false),
        ..SpecialTokens::default()
    };
    let file = Tokenizer::from_sentencepiece(&data("sentencepiece_bpe.model"), &special);
    let file = file.expect("a tokenizer");
    for text in ["Alice said<|user|>hi there", "<s>hi", "a </s> b"] {
        let tokens = tokenizer.encode(text, true).expect("encodes");
        assert_eq!(
            file.encode(text, true).expect("encodes"),
            tokens,
            "{text:?}"
        );
    }
}

#[test]
fn special_tokens_are_matched_first_and_a_text_behind_them_begins_anew() {
    let model = model("sentencepiece_bpe.model");
    let tokenizer = from_gguf(&metadata(&model)).expect("a tokenizer");
    let encode = |text: &str| tokenizer.encode(text, false).expect("encodes");
    assert_eq!(
        encode("Alice<|user|>x</s>"),
        [&encode("Alice")[..], &[3], &encode("x"), &[2]].concat()
    );
    let tokens = encode("Alice<|user|>x");
    assert_eq!(
        tokenizer.decode(&tokens).expect("decodes"),
        "Alice<|user|> x"
    );
    let bare = with(
        &model,
        "tokenizer.ggml.add_space_prefix",
        Some(Value::Bool(false)),
    );
    let bare = bare.expect("a tokenizer");
    assert_eq!(bare.encode("x", false).expect("encodes"), [486]);
    assert_eq!(bare.decode(&encode("x")).expect("decodes"), " x");
    let flags = [
        ("tokenizer.ggml.add_bos_token", false),
        ("tokenizer.ggml.add_eos_token", true),
    ];
    let mut pairs = metadata(&model);
    pairs.extend(flags.map(|(key, is)| (key, Value::Bool(is))));
    let other = from_gguf(&pairs).expect("a tokenizer");
    assert_eq!(other.encode("x", true).expect("encodes"), [432, 486, 2]);
    // Spaces in what a user defines are spaces of the text.
    let mut spaced = model;
    spaced.texts[3] = "\u{2581}\u{2581}>".to_owned();
    let spaced = from_gguf(&metadata(&spaced)).expect("a tokenizer");
    assert_eq!(
        spaced.encode("x  >", false).expect("encodes"),
        [432, 486, 3]
    );
    assert_eq!(spaced.decode(&[432, 486, 3]).expect("decodes"), "x  >");
}

#[test]
fn added_tokens_follow_the_pieces() {
    let file = data("sentencepiece_bpe.model");
    let added = |id, content: &str| AddedToken {
        id,
        content: content.to_owned(),
        is_special: true,
    };
    let special = |added: &[AddedToken]| SpecialTokens {
        added: added.to_vec(),
        ..SpecialTokens::default()
    };
    let tokens = [
        added(0, "<unk>"),
        added(500, "<|im_end|>"),
        added(501, "[PAD]"),
    ];
    let tokenizer = Tokenizer::from_sentencepiece(&file, &special(&tokens)).expect("a tokenizer");
    assert_eq!(tokenizer.n_tokens(), 502);
    assert_eq!(
        tokenizer.encode("<|im_end|>[PAD]", false).expect("encodes"),
        [500, 501]
    );
    let said = |tokens: &[AddedToken]| {
        Tokenizer::from_sentencepiece(&file, &special(tokens))
            .expect_err("refused")
            .to_string()
    };
    assert_eq!(
        said(&[added(501, "[PAD]")]),
        "an added token is \"[PAD]\" with id 501; expected ids that follow the pieces of tokenizer.model without a gap"
    );
    assert_eq!(
        said(&[added(1, "[PAD]")]),
        "an added token is \"[PAD]\" with id 1; expected the piece of that id in tokenizer.model, or an id behind them"
    );
}

#[test]
fn a_stream_makes_the_text_of_all_tokens() {
    let tokenizer = from_gguf(&metadata(&model("sentencepiece_bpe.model"))).expect("a tokenizer");
    let streamed = |before: &[u32], tokens: &[u32]| -> Vec<String> {
        let mut stream = TextStream::behind(&tokenizer, before).expect("a stream");
        let pieces = tokens
            .iter()
            .map(|&token| stream.push(token).expect("a token"));
        let mut pieces: Vec<String> = pieces.collect();
        pieces.push(stream.finish().expect("the rest"));
        pieces
    };
    // Two characters of four bytes each: neither is lost, and nothing is shown before it is whole.
    let faces = [245, 164, 157, 133, 245, 164, 157, 134];
    let pieces = streamed(&[], &faces);
    assert_eq!(
        pieces,
        ["", "", "", "\u{1f600}", "", "", "", "\u{1f601}", ""]
    );
    // Behind a prompt a word has its space, at the beginning of a text it has none.
    let word = tokenizer.encode("Alice", false).expect("encodes");
    assert_eq!(streamed(&[486], &word).concat(), " Alice");
    assert_eq!(streamed(&[], &word).concat(), "Alice");
    // Any tokens at all, bytes that are no characters among them.
    let mut state = 1u64;
    for round in 0..300 {
        let tokens: Vec<u32> = (0..40)
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                let word = (state >> 33) as u32;
                if word & 3 == 0 {
                    word % 500
                } else {
                    5 + (word >> 2) % 256
                }
            })
            .collect();
        let whole = tokenizer.decode(&tokens).expect("decodes");
        assert_eq!(
            streamed(&[], &tokens).concat(),
            whole,
            "round {round}: {tokens:?}"
        );
    }
}

#[test]
fn equal_scores_come_in_the_order_of_ids() {
    let mut equal = model("sentencepiece_bpe.model");
    let first = equal.merges().expect("merges");
    // Ids are in the order of scores in this model, so nothing changes without them.
    equal.scores.fill(-1000.0);
    assert_eq!(equal.merges().expect("merges"), first);
    let last = equal.scores.len() - 1;
    equal.scores[last] = 1.0;
    equal.kinds[last] = Kind::Normal;
    equal.texts[last] = "\u{2581}Alice".to_owned();
    equal.texts[333] = "other".to_owned();
    let [left, right] = [0, 1].map(|at| equal.merges().expect("merges")[0][at].to_string());
    assert_eq!(format!("{left}{right}").replace('"', ""), "\u{2581}Alice");
}

#[test]
fn metadata_that_contradict_themselves_are_refused_by_key() {
    let bpe = model("sentencepiece_bpe.model");
    let said = |key, value| with(&bpe, key, value).expect_err("refused").to_string();
    let floats = |edit: &dyn Fn(&mut Vec<f32>)| {
        let mut scores = bpe.scores.clone();
        edit(&mut scores);
        Some(Value::Array(Array::F32(scores)))
    };
    let types = |edit: &dyn Fn(&mut Vec<i32>)| {
        let mut types: Vec<i32> = bpe.kinds.iter().map(|&kind| kind as i32 + 1).collect();
        edit(&mut types);
        Some(Value::Array(Array::I32(types)))
    };
    let tokens = |at: usize, text: &str| {
        let mut texts = bpe.texts.clone();
        texts[at] = text.to_owned();
        Some(Value::Array(Array::String(texts)))
    };
    let scores = "tokenizer.ggml.scores";
    assert_eq!(
        said(scores, None),
        "no metadata key \"tokenizer.ggml.scores\"; expected an array of f32"
    );
    assert_eq!(
        said(scores, floats(&|all| all.truncate(3))),
        "tokenizer.ggml.scores has 3 entries for 500 tokens"
    );
    for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        assert_eq!(
            said(scores, floats(&|all| all[262] = wrong)),
            format!(
                "the score of token 262, {:?}, in tokenizer.ggml.tokens, is {wrong}; expected a finite number",
                bpe.texts[262]
            )
        );
    }
    // The largest number there is is a score like any other.
    assert!(with(&bpe, scores, floats(&|all| all[262] = f32::MAX)).is_ok());
    let kinds = "tokenizer.ggml.token_type";
    assert_eq!(
        said(kinds, types(&|all| all.push(1))),
        "tokenizer.ggml.token_type has 501 entries for 500 tokens"
    );
    for wrong in [0, 7, -1, i32::MAX] {
        assert_eq!(
            said(kinds, types(&|all| all[300] = wrong)),
            format!(
                "tokenizer.ggml.token_type[300] is {wrong}; expected {}",
                Kind::ALLOWED
            )
        );
    }
    assert!(
        said(kinds, types(&|all| all[300] = 6))
            .contains("token 300 of tokenizer.ggml.tokens, of type Byte,")
    );
    let words = "tokenizer.ggml.tokens";
    assert_eq!(
        said(words, tokens(300, &bpe.texts[299])),
        format!(
            "token {:?} has the ids 299 and 300; a token has one",
            bpe.texts[299]
        )
    );
    assert_eq!(
        said(words, tokens(6, "<0x00>")),
        "token 6 of tokenizer.ggml.tokens, of type Byte, is \"<0x00>\"; expected a byte that no other token is, as <0x0A>"
    );
    assert!(
        said(words, tokens(300, &"x".repeat(600)))
            .contains("token 300 is 600 bytes long; expected at most 512")
    );
    for key in [
        "tokenizer.ggml.bos_token_id",
        "tokenizer.ggml.unknown_token_id",
    ] {
        let wrong = format!("{key} is token 500; allowed: 0 to 499");
        assert_eq!(said(key, Some(Value::U32(500))), wrong);
    }
    assert!(
        said("tokenizer.ggml.add_space_prefix", Some(Value::U32(1)))
            .contains("tokenizer.ggml.add_space_prefix")
    );
    // One that is its own beginning and end is odd, but nothing goes round in it.
    let same = with(&bpe, "tokenizer.ggml.eos_token_id", Some(Value::U32(1))).expect("a tokenizer");
    assert_eq!(same.encode("x", true).expect("encodes"), [1, 432, 486]);
}

#[test]
fn a_model_must_be_able_to_spell_everything() {
    let mut bpe = model("sentencepiece_bpe.model");
    bpe.kinds[0] = Kind::Normal;
    bpe.unknown = None;
    let tokenizer = |model: &Model| with(model, "tokenizer.ggml.unknown_token_id", None);
    let all = tokenizer(&bpe).expect("bytes are enough");
    assert_eq!(
        all.encode("\u{2603}", false).expect("encodes"),
        [432, 231, 157, 136]
    );
    bpe.kinds[20] = Kind::Normal;
    let error = tokenizer(&bpe)
        .expect_err("neither bytes nor an unknown token")
        .to_string();
    assert_eq!(
        error,
        "the vocabulary lacks \"<unk>\", which a SentencePiece tokenizer needs"
    );
    bpe.kinds[0] = Kind::Unknown;
    let unknown = tokenizer(&bpe).expect("an unknown token is enough");
    assert_eq!(
        unknown.encode("\u{2603}\u{2604}", false).expect("encodes"),
        [432, 0]
    );
}

#[test]
fn no_edit_of_a_model_file_ends_the_program() {
    let special = SpecialTokens::default();
    let mut state = 7u64;
    let mut random = move |below: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) as usize % below
    };
    let (mut read, mut refused) = (0, 0);
    for name in ["sentencepiece_bpe.model", "sentencepiece_unigram.model"] {
        let file = data(name);
        let rounds = if name.contains("bpe") { 150 } else { 1500 };
        for _ in 0..rounds {
            let mut bytes = file.clone();
            match random(3) {
                0 => bytes.truncate(random(file.len())),
                1 => {
                    let (from, to) = (random(file.len()), random(file.len()));
                    let length = random(16).min(file.len() - from.max(to));
                    bytes.copy_within(from..from + length, to);
                }
                _ => {
                    for _ in 0..=random(4) {
                        // The end holds what is not a piece.
                        let at = if random(2) == 0 {
                            random(file.len())
                        } else {
                            file.len() - 1 - random(1500)
                        };
                        bytes[at] = random(256) as u8;
                    }
                }
            }
            match Tokenizer::from_sentencepiece(&bytes, &special) {
                Ok(tokenizer) => {
                    read += 1;
                    let tokens = tokenizer.encode("Alice was \u{e9}\u{1f600}  ABC\u{2026}", true);
                    if let Ok(tokens) = tokens {
                        tokenizer.decode(&tokens).expect("its own tokens");
                    }
                }
                Err(error) => {
                    refused += 1;
                    assert!(!error.to_string().is_empty());
                }
            }
        }
    }
    assert!(
        read > 100 && refused > 100,
        "{read} read, {refused} refused"
    );
}

#[test]
fn model_files_that_are_none_are_refused_with_the_place() {
    let said = |bytes: &[u8]| {
        read_model(bytes)
            .map(|_| ())
            .expect_err("refused")
            .to_string()
    };
    let cases: [(&[u8], &str); 8] = [
        (b"\x0a", "expected an integer at byte 1"),
        (
            b"\x0a\x05ab",
            "expected as many bytes as the length before says at byte 2",
        ),
        (
            b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
            "expected as many bytes as the length before says at byte 10",
        ),
        (
            b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80",
            "expected an integer of at most ten bytes at byte 0",
        ),
        (b"\x0b", "expected a field of type 0, 1, 2 or 5 at byte 0"),
        (b"\x08\x01", "expected a message at byte 2"),
        (
            b"\x0a\x03\x0a\x01\xff",
            "expected a piece in UTF-8 at byte 4",
        ),
        (
            b"\x0a\x05\x15\0\0\0\0",
            "expected a piece with a text at byte 2",
        ),
    ];
    for (bytes, reason) in cases {
        assert_eq!(
            said(bytes),
            format!("tokenizer.model is no SentencePiece model: {reason}")
        );
    }
    assert_eq!(
        said(b"\x0a\x05\x0a\x01a\x18\x09"),
        format!("the type of piece 0 is 9; expected {}", Kind::ALLOWED)
    );
    assert_eq!(
        said(b"\x12\x02\x18\x03"),
        "model_type is \"3\"; supported: 1 (unigram), 2 (BPE)"
    );
    assert!(said(b"\x12\x03\xc0\x01\x01").starts_with("treat_whitespace_as_suffix is \"1\""));
    assert!(said(b"\x1a\x02\x28\x00").starts_with("escape_whitespaces is \"0\""));
    let empty = Tokenizer::from_sentencepiece(b"", &SpecialTokens::default());
    assert_eq!(
        empty.expect_err("refused").to_string(),
        "tokenizer.model is empty; expected at least one piece"
    );
    // Other files of this name hold lines of tokens.
    let lines =
        Tokenizer::from_sentencepiece(b"IQ== 0\nIg== 1\nIw== 2\n", &SpecialTokens::default());
    assert!(
        matches!(lines, Err(TextError::ModelFile { .. })),
        "{lines:?}"
    );
}
