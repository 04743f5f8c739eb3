//! Folders as they come, and folders made to break a reader.

use std::collections::BTreeMap;
use std::fs;

use super::*;
use crate::io::gguf::{Array, Metadata, Value as GgufValue};
use crate::io::safetensors::write_safetensors;
use crate::num::RotaryScaling;
use crate::tensor::HostTensor;

const QWEN2: &str = r#"{"model_type":"qwen2","hidden_act":"silu","hidden_size":896,"num_attention_heads":14,
    "num_key_value_heads":2,"intermediate_size":4864,"num_hidden_layers":24,"vocab_size":151936,
    "rms_norm_eps":1e-06,"rope_theta":1000000.0,"max_position_embeddings":32768,
    "tie_word_embeddings":true,"use_sliding_window":false,"sliding_window":32768,"rope_scaling":null}"#;

const BERT: &str = r#"{"model_type":"bert","hidden_act":"gelu","hidden_size":384,"num_attention_heads":12,
    "intermediate_size":1536,"num_hidden_layers":6,"vocab_size":30522,"layer_norm_eps":1e-12,
    "max_position_embeddings":512,"position_embedding_type":"absolute"}"#;

fn said(text: &str) -> String {
    ModelConfig::from_json(text).unwrap_err().to_string()
}

#[test]
fn a_decoder_and_an_encoder_are_read_from_their_configuration() {
    let expected = DecoderConfig {
        kind: DecoderKind::Qwen2,
        vocabulary: 151_936,
        width: 896,
        n_layers: 24,
        ffn_width: 4864,
        n_heads: 14,
        n_kv_heads: 2,
        head_dim: 64,
        rope_base: 1e6,
        rope_scaling: RotaryScaling::None,
        rms_epsilon: 1e-6,
        context: 32_768,
        sliding_window: None,
        tied_head: Some(true),
    };
    assert_eq!(
        ModelConfig::from_json(QWEN2),
        Ok(ModelConfig::Decoder(expected))
    );
    let Ok(ModelConfig::Encoder(bert)) = ModelConfig::from_json(BERT) else {
        panic!("an encoder");
    };
    assert_eq!(
        (bert.width, bert.n_heads, bert.norm_epsilon),
        (384, 12, 1e-12)
    );
    let mistral = QWEN2
        .replace("qwen2", "mistral")
        .replace("\"num_key_value_heads\":2,", "\"head_dim\":128,");
    let Ok(ModelConfig::Decoder(mistral)) = ModelConfig::from_json(&mistral) else {
        panic!("a decoder");
    };
    assert_eq!(
        (mistral.sliding_window, mistral.n_kv_heads, mistral.head_dim),
        (Some(32_768), 14, 128)
    );
}

#[test]
fn configurations_that_cannot_be_used_are_refused_by_field() {
    assert_eq!(
        said(r#"{"model_type":"mamba"}"#),
        "model type \"mamba\" is not supported; supported: llama, mistral, qwen2, qwen3, bert"
    );
    assert_eq!(
        said("{}"),
        "field \"model_type\" is missing; expected a string"
    );
    assert!(said("[]").starts_with("not valid JSON: "));
    assert!(said("{").starts_with("not valid JSON: "));
    let change = |from: &str, to: &str| said(&QWEN2.replace(from, to));
    assert_eq!(
        change("\"vocab_size\":151936", "\"vocab_size\":-1"),
        "field \"vocab_size\" is -1; expected an integer of at least 1"
    );
    assert_eq!(
        change(":14,", ":15,"),
        "hidden_size 896 is not a multiple of num_attention_heads 15"
    );
    assert_eq!(
        change("\"num_key_value_heads\":2", "\"num_key_value_heads\":3"),
        "query heads 14 is not a multiple of key heads 3"
    );
    assert_eq!(
        change(
            "\"rope_scaling\":null",
            r#""rope_scaling":{"rope_type":"yarn"}"#
        ),
        "rope scaling is yarn; supported: default, linear, llama3"
    );
    assert_eq!(
        change("\"rms_norm_eps\":1e-06", "\"rms_norm_eps\":0"),
        "field \"rms_norm_eps\" is 0; expected a number above 0 that f32 can hold"
    );
    assert_eq!(
        change(
            "{\"model_type\"",
            "{\"partial_rotary_factor\":0.5,\"model_type\""
        ),
        "partial_rotary_factor is 0.5; supported: 1"
    );
    assert_eq!(
        change("silu", "relu"),
        "hidden_act is relu; supported: silu"
    );
}

#[test]
fn what_rotation_becomes_is_read_from_old_and_new_fields() {
    let rope = |given: &str| {
        let text = QWEN2.replace("\"rope_theta\":1000000.0,", "");
        let text = text.replace("\"rope_scaling\":null", given);
        match ModelConfig::from_json(&text) {
            Ok(ModelConfig::Decoder(config)) => (config.rope_base, config.rope_scaling),
            other => panic!("{other:?}"),
        }
    };
    let llama3 = RotaryScaling::Llama3 {
        factor: 32.0,
        low: 1.0,
        high: 4.0,
        context: 8192.0,
    };
    let parameters = r#""factor":32.0,"low_freq_factor":1.0,"high_freq_factor":4.0,
        "original_max_position_embeddings":8192,"rope_type":"llama3""#;
    assert_eq!(
        rope(&format!(
            r#""rope_parameters":{{"rope_theta":500000.0,{parameters}}}"#
        )),
        (5e5, llama3)
    );
    assert_eq!(
        rope(&format!(
            r#""rope_theta":500000.0,"rope_scaling":{{{parameters}}}"#
        )),
        (5e5, llama3)
    );
    assert_eq!(
        rope(r#""rope_scaling":{"type":"linear","factor":2}"#),
        (1e4, RotaryScaling::Linear { factor: 2.0 })
    );
    assert_eq!(
        rope(r#""rope_parameters":{"rope_theta":7.0,"rope_type":"default"}"#),
        (7.0, RotaryScaling::None)
    );
}

#[test]
fn gguf_metadata_say_the_same_of_a_model() {
    let pair = |key: &str, value: u32| (key.to_owned(), GgufValue::U32(value));
    let mut pairs = vec![
        (
            "general.architecture".to_owned(),
            GgufValue::String("llama".to_owned()),
        ),
        pair("llama.embedding_length", 576),
        pair("llama.attention.head_count", 9),
        pair("llama.attention.head_count_kv", 3),
        pair("llama.block_count", 30),
        pair("llama.feed_forward_length", 1536),
        pair("llama.context_length", 8192),
        ("llama.rope.freq_base".to_owned(), GgufValue::F32(1e5)),
        (
            "llama.attention.layer_norm_rms_epsilon".to_owned(),
            GgufValue::F32(1e-5),
        ),
        (
            "tokenizer.ggml.tokens".to_owned(),
            GgufValue::Array(Array::String(vec!["a".to_owned(), "b".to_owned()])),
        ),
    ];
    let Ok(ModelConfig::Decoder(config)) =
        ModelConfig::from_gguf(&Metadata::new(pairs.clone()).unwrap())
    else {
        panic!("a decoder");
    };
    assert_eq!(
        (config.vocabulary, config.head_dim, config.n_kv_heads),
        (2, 64, 3)
    );
    assert_eq!((config.rope_base, config.tied_head), (1e5, None));
    assert_eq!(config.rope_scaling, RotaryScaling::None);
    let with = |key: &str, value: GgufValue| {
        let mut pairs = pairs.clone();
        pairs.retain(|(there, _)| there != key);
        pairs.push((key.to_owned(), value));
        match ModelConfig::from_gguf(&Metadata::new(pairs).unwrap()) {
            Ok(ModelConfig::Decoder(config)) => Ok(config),
            Ok(ModelConfig::Encoder(_)) => panic!("a decoder"),
            Err(error) => Err(error.to_string()),
        }
    };
    for key in ["llama.rope.scaling.factor", "llama.rope.scale_linear"] {
        let scaled = with(key, GgufValue::F32(4.0)).unwrap();
        assert_eq!(scaled.rope_scaling, RotaryScaling::Linear { factor: 4.0 });
    }
    let none = with("llama.attention.sliding_window", GgufValue::U32(0)).unwrap();
    assert_eq!(none.sliding_window, None);
    for (key, value, said) in [
        (
            "llama.rope.dimension_count",
            GgufValue::U32(32),
            "32; supported: the width of a head",
        ),
        ("llama.expert_count", GgufValue::U32(8), "8; supported: 0"),
        (
            "llama.block_count",
            GgufValue::U32(0),
            "0; supported: 1 to what memory can address",
        ),
        (
            "llama.context_length",
            GgufValue::U32(0),
            "0; supported: 1 to what memory can address",
        ),
        (
            "llama.rope.freq_base",
            GgufValue::F32(f32::NAN),
            "NaN; supported: numbers above 0 that f32 can hold",
        ),
        (
            "llama.logit_scale",
            GgufValue::F32(0.5),
            "0.5; supported: 1",
        ),
        (
            "llama.rope.scaling.type",
            GgufValue::String("yarn".to_owned()),
            "yarn; supported: none, linear",
        ),
    ] {
        assert_eq!(
            with(key, value).unwrap_err(),
            format!("metadata key {key:?} is {said}")
        );
    }
    pairs[1].1 = GgufValue::String("wide".to_owned());
    let error = ModelConfig::from_gguf(&Metadata::new(pairs).unwrap()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "metadata key \"llama.embedding_length\" is the string \"wide\"; expected an integer of at least 0"
    );
}

#[test]
fn sampling_defaults_take_one_end_token_or_several() {
    let one = GenerationConfig::from_json(r#"{"eos_token_id":2,"temperature":0.6,"top_k":20}"#);
    let one = one.unwrap();
    assert_eq!(
        (one.end_tokens, one.temperature, one.top_k),
        (vec![2], Some(0.6), Some(20))
    );
    let two = GenerationConfig::from_json(r#"{"eos_token_id":[2,0]}"#).unwrap();
    assert_eq!((two.end_tokens, two.top_p), (vec![2, 0], None));
    let wrong = GenerationConfig::from_json(r#"{"eos_token_id":"x"}"#).unwrap_err();
    assert_eq!(
        wrong.to_string(),
        "field \"eos_token_id\" is \"x\"; expected a token or a list of tokens"
    );
}

#[test]
fn chat_templates_are_found_where_they_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let hf = HfFolder::new(folder.path());
    assert_eq!(hf.chat_template().unwrap(), None);
    let config = folder.path().join("tokenizer_config.json");
    fs::write(&config, r#"{"chat_template":"{{ a }}"}"#).unwrap();
    assert_eq!(hf.chat_template().unwrap().as_deref(), Some("{{ a }}"));
    let named =
        r#"{"chat_template":[{"name":"tool","template":"t"},{"name":"default","template":"d"}]}"#;
    fs::write(&config, named).unwrap();
    assert_eq!(hf.chat_template().unwrap().as_deref(), Some("d"));
    fs::write(&config, r#"{"chat_template":3}"#).unwrap();
    let error = hf.chat_template().unwrap_err().to_string();
    assert!(
        error.ends_with("field \"chat_template\" is 3; expected a string"),
        "{error}"
    );
    fs::write(folder.path().join("chat_template.jinja"), "alone").unwrap();
    assert_eq!(hf.chat_template().unwrap().as_deref(), Some("alone"));
    assert!(matches!(hf.config(), Err(HfError::Io(_))));
    assert_eq!(hf.generation().unwrap(), GenerationConfig::default());
}

/// A folder of shards `a.safetensors` with x and y, and `b.safetensors` with z, behind `index`.
fn sharded(index: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let shard = |name: &str, tensors: &[(&str, f32)]| {
        let tensors: Vec<_> = tensors
            .iter()
            .map(|&(name, x)| {
                (
                    name.to_owned(),
                    HostTensor::from_f32(vec![1], &[x]).unwrap(),
                )
            })
            .collect();
        write_safetensors(folder.path().join(name), &tensors, &BTreeMap::new()).unwrap();
    };
    shard("a.safetensors", &[("x", 1.0), ("y", 2.0)]);
    shard("b.safetensors", &[("z", 3.0)]);
    shard("c.safetensors", &[("x", 4.0)]);
    let index = format!("{{\"metadata\":{{}},\"weight_map\":{{{index}}}}}");
    fs::write(folder.path().join("model.safetensors.index.json"), index).unwrap();
    folder
}

const GOOD: &str = r#""x":"a.safetensors","y":"a.safetensors","z":"b.safetensors""#;

#[test]
fn special_tokens_are_words_alone_or_with_their_properties() {
    let found = SpecialTokens::from_json(
        r#"{"bos_token":{"content":"<s>","lstrip":false},"eos_token":"</s>","add_bos_token":true,
            "add_eos_token":false,"legacy":false,
            "added_tokens_decoder":{"32000":{"content":"<pad>","special":true},"2":{"content":"</s>"}}}"#,
    );
    let added = |id, content: &str, is_special| AddedToken {
        id,
        content: content.to_owned(),
        is_special,
    };
    let expected = SpecialTokens {
        begin: Some("<s>".to_owned()),
        end: Some("</s>".to_owned()),
        adds_begin: Some(true),
        adds_end: Some(false),
        is_legacy: Some(false),
        added: vec![added(2, "</s>", false), added(32000, "<pad>", true)],
    };
    assert_eq!(found.unwrap(), expected);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("added_tokens.json");
    fs::write(&file, r#"{"<pad>":7,"word":3}"#).unwrap();
    let found = HfFolder::new(folder.path()).special_tokens().unwrap().added;
    assert_eq!(found, [added(3, "word", false), added(7, "<pad>", true)]);
    fs::write(&file, r#"{"<pad>":7,"word":7}"#).unwrap();
    let error = HfFolder::new(folder.path()).special_tokens().unwrap_err();
    let expected =
        "field \"added_tokens.json\" is 7 twice; expected tokens with their ids, each once";
    assert!(error.to_string().ends_with(expected), "{error}");
    let found = SpecialTokens::from_json(r#"{"bos_token":null}"#);
    assert_eq!(found.unwrap(), SpecialTokens::default());
    for (text, expected) in [
        (
            r#"{"bos_token":1}"#,
            "field \"bos_token\" is 1; expected a string",
        ),
        (
            r#"{"eos_token":{}}"#,
            "field \"eos_token\" is an object without it",
        ),
        (r#"{"add_bos_token":"yes"}"#, "expected true or false"),
        (
            r#"{"added_tokens_decoder":{"x":{"content":"a"}}}"#,
            "expected tokens with their ids",
        ),
    ] {
        let error = SpecialTokens::from_json(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn shards_are_one_set_of_tensors() {
    let folder = sharded(GOOD);
    let shards = HfFolder::new(folder.path()).weights().unwrap();
    assert_eq!(shards.names().collect::<Vec<_>>(), ["x", "y", "z"]);
    assert_eq!(shards.n_shards(), 2);
    assert_eq!(shards.tensor("z").unwrap().to_f32().unwrap(), [3.0]);
    let error = shards.tensor("w").unwrap_err().to_string();
    assert!(
        error.ends_with("no tensor \"w\" among 3 in 2 shards"),
        "{error}"
    );
}

#[test]
fn a_single_file_needs_no_index_and_an_empty_folder_is_refused() {
    let folder = sharded(GOOD);
    fs::remove_file(folder.path().join("model.safetensors.index.json")).unwrap();
    let error = Shards::open(folder.path()).unwrap_err().to_string();
    assert!(
        error.ends_with("neither model.safetensors nor model.safetensors.index.json"),
        "{error}"
    );
    let whole = folder.path().join("model.safetensors");
    fs::rename(folder.path().join("a.safetensors"), whole).unwrap();
    let shards = Shards::open(folder.path()).unwrap();
    assert_eq!(shards.names().collect::<Vec<_>>(), ["x", "y"]);
}

#[test]
fn indices_that_do_not_fit_their_shards_are_refused_by_tensor_and_shard() {
    let cases = [
        (
            r#""x":"a.safetensors","q":"d.safetensors","r":"d.safetensors""#,
            "shard \"d.safetensors\" is missing; it should hold \"q\" and 1 more",
        ),
        (
            r#""x":"model.safetensors.index.json""#,
            "tensor \"x\" is said to be in \"model.safetensors.index.json\"; allowed: names of \
             .safetensors files in the same folder",
        ),
        (
            r#""x":"../a.safetensors""#,
            "tensor \"x\" is said to be in \"../a.safetensors\"; allowed: names of .safetensors files in \
             the same folder",
        ),
        (
            r#""x":"a.safetensors","z":"c.safetensors""#,
            "tensor \"x\" is in two shards, \"a.safetensors\" and \"c.safetensors\"",
        ),
        (
            r#""z":"a.safetensors""#,
            "tensor \"z\" is listed for shard \"a.safetensors\", which does not hold it",
        ),
        (
            r#""x":"a.safetensors","x":"b.safetensors""#,
            "tensor \"x\" is listed more than once",
        ),
    ];
    for (index, expected) in cases {
        let folder = sharded(index);
        let error = Shards::open(folder.path()).unwrap_err().to_string();
        assert!(error.ends_with(expected), "{error}");
    }
    let folder = sharded("\"x\":1");
    let error = Shards::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("not a shard index: "), "{error}");
}
