//! Small tokenizers built from metadata, and templates. The real ones are compared with their references
//! by the example `read_models`.

use super::*;
use crate::io::gguf::{Array, Value};

fn texts(all: &[&str]) -> Value {
    Value::Array(Array::String(
        all.iter().map(|&one| one.to_owned()).collect(),
    ))
}

fn metadata(pairs: &[(&str, Value)]) -> Metadata {
    let pairs = pairs.iter();
    Metadata::new(
        pairs
            .map(|(key, value)| ((*key).to_owned(), value.clone()))
            .collect(),
    )
    .unwrap()
}

/// Two special tokens, then bytes as byte-level BPE spells them: a space is Ġ, é is Ã and ©.
const TOKENS: [&str; 13] = [
    "<|end|>", "<|tool|>", "Ġ", "h", "e", "l", "o", "1", "2", "Ã", "©", "he", "Ġhe",
];

fn byte_level(pre: &str, more: &[(&str, Value)]) -> Result<Tokenizer, TextError> {
    let mut types = vec![3, 4];
    types.resize(TOKENS.len(), 1);
    let mut pairs = vec![
        ("tokenizer.ggml.model", Value::String("gpt2".to_owned())),
        ("tokenizer.ggml.pre", Value::String(pre.to_owned())),
        ("tokenizer.ggml.tokens", texts(&TOKENS)),
        ("tokenizer.ggml.merges", texts(&["h e", "Ġ he"])),
        ("tokenizer.ggml.token_type", Value::Array(Array::I32(types))),
        ("tokenizer.ggml.eos_token_id", Value::U32(0)),
    ];
    for (key, value) in more {
        pairs.retain(|(found, _)| found != key);
        pairs.push((key, value.clone()));
    }
    Tokenizer::from_gguf(&metadata(&pairs))
}

#[test]
fn bytes_are_merged_by_rank_within_the_words_of_the_cut() {
    let tokenizer = byte_level("smollm", &[]).unwrap();
    assert_eq!(tokenizer.n_tokens(), TOKENS.len());
    assert_eq!(
        tokenizer.encode("hello hello", true).unwrap(),
        [11, 5, 5, 6, 12, 5, 5, 6]
    );
    assert_eq!(tokenizer.encode("é", true).unwrap(), [9, 10]);
    assert_eq!(tokenizer.encode("", true).unwrap(), [0u32; 0]);
    assert_eq!(
        tokenizer.encode("12<|end|>1<|tool|>", true).unwrap(),
        [7, 8, 0, 7, 1]
    );
    assert_eq!(
        tokenizer.decode(&[11, 5, 5, 6, 12, 0, 9, 10]).unwrap(),
        "hello he<|end|>é"
    );
    assert_eq!(
        (tokenizer.id("he"), tokenizer.token(12)),
        (Some(11), Some("Ġhe".to_owned()))
    );
}

#[test]
fn every_cut_that_is_known_by_name_reads() {
    for pre in ["gpt-2", "smollm", "llama-bpe", "qwen2"] {
        let begin = [("tokenizer.ggml.bos_token_id", Value::U32(1))];
        let tokenizer = byte_level(pre, &begin).unwrap();
        let tokens = tokenizer.encode("hello  hello\n\nhe", true);
        // llama-bpe puts its first token in front unless told not to. A line end has no token here.
        assert_eq!(
            tokens.unwrap().first(),
            Some(if pre == "llama-bpe" { &1 } else { &11 }),
            "{pre}"
        );
    }
}

#[test]
fn the_ends_that_a_model_wants_are_put_around_a_text() {
    let ends = [
        ("tokenizer.ggml.add_bos_token", Value::Bool(true)),
        ("tokenizer.ggml.add_eos_token", Value::Bool(true)),
        ("tokenizer.ggml.bos_token_id", Value::U32(1)),
    ];
    let tokenizer = byte_level("smollm", &ends).unwrap();
    assert_eq!(tokenizer.encode("he", true).unwrap(), [1, 11, 0]);
    assert_eq!(tokenizer.encode("he", false).unwrap(), [11]);
}

#[test]
fn a_stream_gives_out_whole_characters_only() {
    let tokenizer = byte_level("smollm", &[]).unwrap();
    let mut stream = TextStream::new(&tokenizer);
    let pieces: Vec<String> = [11, 12, 9, 10, 6]
        .map(|token| stream.push(token).unwrap())
        .into();
    assert_eq!(pieces, ["he", " he", "", "é", "o"]);
    assert_eq!(stream.push(9).unwrap(), "");
    assert_eq!(stream.finish().unwrap(), "\u{fffd}");
    let mut stream = TextStream::new(&tokenizer);
    assert!(matches!(
        stream.push(99),
        Err(TextError::NoSuchToken {
            id: 99,
            n_tokens: 13,
            ..
        })
    ));
}

#[test]
fn word_pieces_are_stored_the_other_way_round() {
    let tokens = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "▁guitar",
        "s",
        "▁a",
        "▁.",
    ];
    let pairs = [
        ("tokenizer.ggml.model", Value::String("bert".to_owned())),
        ("tokenizer.ggml.tokens", texts(&tokens)),
    ];
    let tokenizer = Tokenizer::from_gguf(&metadata(&pairs)).unwrap();
    assert_eq!(
        tokenizer.encode("A guitars é.", true).unwrap(),
        [2, 7, 5, 6, 1, 8, 3]
    );
    assert_eq!(tokenizer.token(6).as_deref(), Some("##s"));
    let pairs = [
        pairs[0].clone(),
        ("tokenizer.ggml.tokens", texts(&tokens[..3])),
    ];
    let error = Tokenizer::from_gguf(&metadata(&pairs))
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "the vocabulary lacks \"[SEP]\", which a WordPiece tokenizer needs"
    );
}

#[test]
fn tokenizers_that_cannot_be_built_are_refused_by_key() {
    let said = |more: &[(&str, Value)]| byte_level("smollm", more).unwrap_err().to_string();
    assert_eq!(
        byte_level("viking", &[]).unwrap_err().to_string(),
        "tokenizer.ggml.pre is \"viking\"; supported: default, gpt-2 (phi-2, mpt, olmo), smollm (starcoder, refact, \
         command-r, codeshell), llama-bpe (llama3, llama-v3, falcon3, pixtral), smaug-bpe (dbrx), qwen2, \
         deepseek-r1-qwen, tekken, deepseek-coder"
    );
    assert_eq!(
        said(&[("tokenizer.ggml.model", Value::String("rwkv".to_owned()))]),
        "tokenizer.ggml.model is \"rwkv\"; supported: gpt2 (byte-level BPE), llama (SentencePiece BPE), t5 \
         (SentencePiece unigrams), bert (WordPiece)"
    );
    assert_eq!(
        said(&[("tokenizer.ggml.merges", texts(&["h e", "he"]))]),
        "merge 1 is \"he\"; expected two tokens with one space between"
    );
    assert!(said(&[("tokenizer.ggml.merges", texts(&["h x"]))]).starts_with("tokenizer: "));
    // Longer than any token, so that the library would write outside of its room.
    let long = "<|end|>";
    assert_eq!(
        said(&[("tokenizer.ggml.merges", texts(&[&format!("{long} {long}")]))]),
        "merge 0 is \"<|end|>\" and \"<|end|>\"; expected two tokens that make a third"
    );
    assert_eq!(
        said(&[("tokenizer.ggml.tokens", texts(&["a", "b", "a"]))]),
        "tokenizer.ggml.token_type has 13 entries for 3 tokens"
    );
    let three = Value::Array(Array::I32(vec![1; 3]));
    assert_eq!(
        said(&[
            ("tokenizer.ggml.tokens", texts(&["a", "b", "a"])),
            ("tokenizer.ggml.token_type", three),
        ]),
        "token \"a\" has the ids 0 and 2; a token has one"
    );
    assert_eq!(
        said(&[
            ("tokenizer.ggml.add_eos_token", Value::Bool(true)),
            ("tokenizer.ggml.eos_token_id", Value::U32(13)),
        ]),
        "tokenizer.ggml.eos_token_id is token 13; allowed: 0 to 12"
    );
    assert!(matches!(
        Tokenizer::from_gguf(&Metadata::default()),
        Err(TextError::Gguf(_))
    ));
    assert!(matches!(
        Tokenizer::from_json(b"{}"),
        Err(TextError::Tokenizer { .. })
    ));
    assert!(matches!(
        Tokenizer::open("/nowhere/tokenizer.json"),
        Err(TextError::Io(_))
    ));
}

fn message(role: &str, content: &str) -> Message {
    Message {
        role: role.to_owned(),
        content: content.to_owned(),
    }
}

const CHAT_ML: &str = "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' \
    %}{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging \
    Face<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + \
    '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

#[test]
fn a_conversation_is_rendered_as_its_template_says() {
    let template = ChatTemplate::new(CHAT_ML).unwrap();
    let text = template.render(&[message("user", "Hi {{ x }}")], true, ("", ""));
    assert_eq!(
        text.unwrap(),
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face\
         <|im_end|>\n<|im_start|>user\nHi {{ x }}<|im_end|>\n<|im_start|>assistant\n"
    );
    let pythonic = "{% for m in messages %}\n  {% if m.content.startswith('<') %}\n\
         {{ bos_token + m.content.strip() + m.get('name', '!') + m.role.upper() }}\n  {% endif %}\n{% endfor %}";
    let text = ChatTemplate::new(pythonic).unwrap();
    let text = text.render(&[message("user", "< a ")], false, ("B", "E"));
    assert_eq!(text.unwrap(), "B< a!USER\n");
}

#[test]
fn methods_of_strings_are_those_of_python_with_all_their_arguments() {
    let made = |template: &str| {
        let template = ChatTemplate::new(template)?;
        template.render(&[message("user", "hello a bc d")], false, ("", ""))
    };
    let of = |call: &str| made(&format!("{{{{ messages[0].content.{call} }}}}"));
    assert_eq!(of("split(' ', 1)[1]").unwrap(), "a bc d");
    assert_eq!(of("split(' ')[1]").unwrap(), "a");
    assert_eq!(of("split(' ', -1)|length").unwrap(), "4");
    assert_eq!(of("split()|length").unwrap(), "4");
    assert_eq!(of("replace('l', 'LL')").unwrap(), "heLLLLo a bc d");
    assert_eq!(of("title()").unwrap(), "Hello A Bc D");
    assert_eq!(of("count('l')").unwrap(), "2");
    for wrong in ["strip(3)", "startswith(1)", "upper('a', 'b')"] {
        assert!(
            matches!(of(wrong), Err(TextError::Template { .. })),
            "{wrong}"
        );
    }
}

#[test]
fn dictionaries_marks_of_generation_and_the_date_are_what_templates_expect() {
    let made = |template: &str| {
        let template = ChatTemplate::new(template)?;
        template.render(&[message("user", "Hi")], true, ("", ""))
    };
    assert_eq!(
        made("{% for k, v in messages[0].items() %}{{ k }}={{ v }};{% endfor %}").unwrap(),
        "role=user;content=Hi;"
    );
    assert_eq!(
        made("{{ messages[0].keys()|join(' ') }} {{ messages[0].values()|join(' ') }}").unwrap(),
        "role content user Hi"
    );
    assert!(made("{{ messages[0].pop() }}").is_err());
    // As blocks that are always taken, with their signs for spaces.
    assert_eq!(
        made("a {%- generation %} b {%- endgeneration -%} c").unwrap(),
        "a bc"
    );
    assert_eq!(
        made("{% generation %}{% set generation = 'x' %}{{ generation }}{% endgeneration %}")
            .unwrap(),
        "x"
    );
    let date = made("{{ strftime_now('%d %b %Y') }}").unwrap();
    let parts: Vec<&str> = date.split(' ').collect();
    assert_eq!(
        parts.iter().map(|part| part.len()).collect::<Vec<_>>(),
        [2, 3, 4],
        "{date}"
    );
    assert!(parts[2].parse::<u32>().unwrap() >= 2025, "{date}");
    for wrong in ["%9999999d", "%d %~"] {
        let error = made(&format!("{{{{ strftime_now('{wrong}') }}}}")).unwrap_err();
        assert!(error.to_string().contains("strftime_now"), "{error}");
    }
}

#[test]
fn templates_that_fill_up_to_any_width_or_write_without_end_are_refused() {
    let said = |template: &str| {
        let template = ChatTemplate::new(template).unwrap();
        let made = template.render(&[message("user", "x\ny")], false, ("", ""));
        made.map_err(|error| error.to_string())
    };
    assert_eq!(
        said("{{ messages[0].content | indent(2) }}").unwrap(),
        "x\n  y"
    );
    assert_eq!(
        said("{{ messages[0].content | indent(width=1, first=true) }}").unwrap(),
        " x\n y"
    );
    assert_eq!(said("{{ '%s-%s' | format('a', 'b') }}").unwrap(), "a-b");
    for wide in [
        "{{ 'a' | indent(1000000000, true) }}",
        "{{ '%1000000000s' | format('a') }}",
        "{{ '%*s' | format(1000000000, 'a') }}",
    ] {
        let error = said(wide).unwrap_err();
        assert!(error.contains("allowed: up to 1000"), "{wide}: {error}");
    }
    let long =
        "{% set a = 'aaaaaaaaaaaaaaaa' * 65536 %}{% for i in range(100) %}{{ a }}{% endfor %}";
    let error = said(long).unwrap_err();
    assert!(error.contains("writes more than"), "{error}");
}

#[test]
fn tokenizers_whose_parts_contradict_each_other_are_errors_and_no_panics() {
    let tokenizer = |normalizer: &str| {
        let json = format!(
            r#"{{"version":"1.0","added_tokens":[],"normalizer":{normalizer},"pre_tokenizer":null,
            "post_processor":null,"decoder":null,"model":{{"type":"WordLevel","vocab":{{"a":0,"b":7}},"unk_token":"a"}}}}"#
        );
        Tokenizer::from_json(json.as_bytes())
    };
    assert_eq!(tokenizer("null").unwrap().n_ids(), 8);
    let bad = tokenizer(r#"{"type":"Precompiled","precompiled_charsmap":"AAAA"}"#);
    assert!(matches!(bad, Err(TextError::Entry { .. })));
    let cut = Tokenizer::from_json(br#"{"decoder":{"type" "Fuse"}}"#);
    assert!(matches!(cut, Err(TextError::Tokenizer { .. })));
    let double = r#"{"type":"Replace","pattern":{"String":"a"},"content":"aa"}"#;
    let forty = vec![double; 40].join(",");
    let error = tokenizer(&format!(r#"{{"type":"Sequence","normalizers":[{forty}]}}"#));
    let error = error.unwrap_err().to_string();
    assert!(error.contains("1.1e12 times longer"), "{error}");
    let four = [double; 4].join(",");
    let fine = tokenizer(&format!(r#"{{"type":"Sequence","normalizers":[{four}]}}"#));
    assert!(fine.is_ok());
}

#[test]
fn templates_that_fail_say_so_and_do_not_run_for_ever() {
    let said = |template: &str| {
        let template = ChatTemplate::new(template)?;
        template.render(&[message("user", "x")], false, ("", ""))
    };
    let error = said("{{ raise_exception('roles must alternate') }}")
        .unwrap_err()
        .to_string();
    assert!(error.contains("roles must alternate"), "{error}");
    assert!(matches!(said("{% if %}"), Err(TextError::Template { .. })));
    assert!(matches!(
        said("{{ messages[0].content.swapcase() }}"),
        Err(TextError::Template { .. })
    ));
    let loops = "{% for a in range(100000) %}{% for b in range(100000) %}x{% endfor %}{% endfor %}";
    assert!(matches!(said(loops), Err(TextError::Template { .. })));
}
