//! Decoders from folders of Hugging Face's whose linear layers are GPTQ, AWQ or compressed-tensors, with asymmetric int4
//! groups of 128: the logits of the same weights as f32.

use std::fs;
use std::path::{Path, PathBuf};

use lapidary::engine::CpuEngine;
use lapidary::engine::Engine;
use lapidary::generate::{GenerateError, LanguageModel, Session, SessionOptions};
use lapidary::io::safetensors::write_safetensors;
use lapidary::models::llama::{Footprint, HfWeights, Llama, Use, WeightSource};
use lapidary::num::Philox;
use lapidary::record::Recording;
use lapidary::tensor::{DType, HostTensor};
use lapidary::text::Message;

use crate::support::{gpu, options, values};

const GROUP: usize = 128;
const WIDTH: usize = 128;
const FFN: usize = 256;
const VOCABULARY: usize = 48;

/// Linear layers of the model, with their shapes and the layer whose act-order they share.
const LINEARS: [(&str, [usize; 2], &str); 7] = [
    ("self_attn.q_proj", [128, WIDTH], "q"),
    ("self_attn.k_proj", [64, WIDTH], "q"),
    ("self_attn.v_proj", [64, WIDTH], "v"),
    ("self_attn.o_proj", [WIDTH, 128], "o"),
    ("mlp.gate_proj", [FFN, WIDTH], "gate"),
    ("mlp.up_proj", [FFN, WIDTH], "gate"),
    ("mlp.down_proj", [WIDTH, FFN], "down"),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    Dense,
    Gptq,
    GptqV2ActOrder,
    Awq,
    Packed,
}

/// A layer by its definition: `w[n, k] = scale[n, g(k)] (code[n, k] - zero[n, g(k)])`.
struct Layer {
    n: usize,
    k: usize,
    codes: Vec<u32>,
    zeros: Vec<u32>,
    scales: Vec<f32>,
    /// Group of each input.
    groups: Vec<usize>,
}

impl Layer {
    fn new(name: &str, [n, k]: [usize; 2], order: &str, is_ordered: bool) -> Self {
        let seed = |text: &str| text.bytes().map(u64::from).sum::<u64>();
        let mut stream = Philox::new(seed(name)).stream(1);
        let n_groups = k / GROUP;
        let mut draw = |count: usize| (0..count).map(|_| stream.below(16)).collect::<Vec<_>>();
        let (codes, zeros, sizes) = (draw(n * k), draw(n * n_groups), draw(n * n_groups));
        let mut groups: Vec<usize> = (0..k).map(|column| column / GROUP).collect();
        if is_ordered {
            let mut stream = Philox::new(seed(order)).stream(2);
            for at in (1..k).rev() {
                groups.swap(at, stream.below(at as u32 + 1) as usize);
            }
        }
        Self {
            n,
            k,
            codes,
            zeros,
            // f16 numbers.
            scales: sizes
                .iter()
                .map(|size| (16 + size) as f32 / 4096.0)
                .collect(),
            groups,
        }
    }

    fn n_groups(&self) -> usize {
        self.k / GROUP
    }

    fn dense(&self) -> Vec<f32> {
        let weight = |at: usize| {
            let place = at / self.k * self.n_groups() + self.groups[at % self.k];
            self.scales[place] * (self.codes[at] as f32 - self.zeros[place] as f32)
        };
        (0..self.n * self.k).map(weight).collect()
    }

    /// Fields of four bits, `order[i]` of each eight at nibble i; `at(row, column)` for rows of words along columns.
    fn packed(
        rows: usize,
        columns: usize,
        order: [usize; 8],
        at: impl Fn(usize, usize) -> u32,
    ) -> HostTensor {
        let mut words = Vec::new();
        for row in 0..rows {
            for word in 0..columns / 8 {
                let nibble = |i: usize| at(row, 8 * word + order[i]) << (4 * i);
                words.push((0..8).map(nibble).sum());
            }
        }
        HostTensor::from_words(DType::I32, vec![rows, columns / 8], &words).expect("fits")
    }

    fn tensors(&self, name: &str, method: Method) -> Vec<(String, HostTensor)> {
        let (n, k, g) = (self.n, self.k, self.n_groups());
        let plain = [0, 1, 2, 3, 4, 5, 6, 7];
        let code = |row: usize, column: usize| self.codes[row * k + column];
        let zero = |row: usize, group: usize| self.zeros[row * g + group];
        let f16 = |shape: [usize; 2], values: Vec<f32>| {
            HostTensor::from_f32_as(DType::F16, shape.to_vec(), &values).expect("fits")
        };
        let by_group = || {
            let scale = |at: usize| self.scales[at % n * g + at / n];
            f16([g, n], (0..g * n).map(scale).collect())
        };
        let part = |part: &str, tensor: HostTensor| (format!("{name}.{part}"), tensor);
        match method {
            Method::Dense => {
                let host = HostTensor::from_f32(vec![n, k], &self.dense()).expect("fits");
                vec![part("weight", host)]
            }
            Method::Gptq | Method::GptqV2ActOrder => {
                // Words run along the inputs of a column.
                let columns = Self::packed(n, k, plain, code).words();
                let words: Vec<u32> = (0..n * k / 8)
                    .map(|at| columns[at % n * (k / 8) + at / n])
                    .collect();
                let words = HostTensor::from_words(DType::I32, vec![k / 8, n], &words);
                let zeros = Self::packed(g, n, plain, |group, row| zero(row, group));
                let stored: Vec<u32> = zeros
                    .words()
                    .iter()
                    .map(|word| match method {
                        Method::Gptq => word.wrapping_sub(0x1111_1111),
                        _ => *word,
                    })
                    .collect();
                let zeros = HostTensor::from_words(DType::I32, vec![g, n / 8], &stored);
                let groups: Vec<i32> = self.groups.iter().map(|&group| group as i32).collect();
                vec![
                    part("qweight", words.expect("fits")),
                    part("qzeros", zeros.expect("fits")),
                    part("scales", by_group()),
                    part(
                        "g_idx",
                        HostTensor::from_i32(vec![k], &groups).expect("fits"),
                    ),
                ]
            }
            Method::Awq => {
                let order = [0, 2, 4, 6, 1, 3, 5, 7];
                vec![
                    part(
                        "qweight",
                        Self::packed(k, n, order, |input, row| code(row, input)),
                    ),
                    part(
                        "qzeros",
                        Self::packed(g, n, order, |group, row| zero(row, group)),
                    ),
                    part("scales", by_group()),
                ]
            }
            Method::Packed => {
                // Zero points run along the outputs.
                let zeros = Self::packed(g, n, plain, |group, row| zero(row, group)).words();
                let zeros: Vec<u32> = (0..g * n / 8)
                    .map(|at| zeros[at % g * (n / 8) + at / g])
                    .collect();
                let zeros = HostTensor::from_words(DType::I32, vec![n / 8, g], &zeros);
                let shape = [n as i64, k as i64].map(i64::to_le_bytes).concat();
                vec![
                    part("weight_packed", Self::packed(n, k, plain, code)),
                    part(
                        "weight_shape",
                        HostTensor::new(DType::I64, vec![2], shape).expect("fits"),
                    ),
                    part("weight_zero_point", zeros.expect("fits")),
                    part("weight_scale", f16([n, g], self.scales.clone())),
                ]
            }
        }
    }
}

/// Writes the model of one layer; `is_ordered` whether columns belong to groups out of order.
fn folder(name: &str, method: Method, is_ordered: bool) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&path).expect("a folder");
    let weights =
        r#"{"num_bits":4,"type":"int","symmetric":false,"strategy":"group","group_size":128}"#;
    let quantization = match method {
        Method::Dense => "null".to_owned(),
        Method::Gptq => {
            r#"{"quant_method":"gptq","bits":4,"group_size":128,"sym":false,"desc_act":false}"#.to_owned()
        }
        Method::GptqV2ActOrder => {
            r#"{"quant_method":"gptq","bits":4,"group_size":128,"sym":false,"desc_act":true,"checkpoint_format":"gptq_v2"}"#.to_owned()
        }
        Method::Awq => {
            r#"{"quant_method":"awq","bits":4,"group_size":128,"zero_point":true,"version":"gemm"}"#.to_owned()
        }
        Method::Packed => format!(
            r#"{{"quant_method":"compressed-tensors","format":"pack-quantized","config_groups":{{"group_0":{{"targets":["Linear"],"weights":{weights}}}}},"ignore":["lm_head"]}}"#
        ),
    };
    let config = format!(
        r#"{{"model_type":"llama","hidden_act":"silu","hidden_size":{WIDTH},"num_attention_heads":4,
        "num_key_value_heads":2,"intermediate_size":{FFN},"num_hidden_layers":1,"vocab_size":{VOCABULARY},
        "rms_norm_eps":1e-5,"max_position_embeddings":64,"tie_word_embeddings":true,
        "quantization_config":{quantization}}}"#
    );
    fs::write(path.join("config.json"), config).expect("writes");
    let float = |name: &str, shape: &[usize], scale: f32, add: f32| {
        let seed = name.bytes().map(u64::from).sum();
        let values: Vec<f32> = values(seed, shape.iter().product())
            .iter()
            .map(|value| scale * value + add)
            .collect();
        let host = HostTensor::from_f32(shape.to_vec(), &values).expect("fits");
        (name.to_owned(), host)
    };
    let layer = "model.layers.0";
    let mut tensors = vec![
        float("model.embed_tokens.weight", &[VOCABULARY, WIDTH], 0.4, 0.0),
        float("model.norm.weight", &[WIDTH], 0.2, 1.0),
        float(
            &format!("{layer}.input_layernorm.weight"),
            &[WIDTH],
            0.2,
            1.0,
        ),
        float(
            &format!("{layer}.post_attention_layernorm.weight"),
            &[WIDTH],
            0.2,
            1.0,
        ),
    ];
    for (name, shape, order) in LINEARS {
        let made = Layer::new(name, shape, order, is_ordered);
        tensors.extend(made.tensors(&format!("{layer}.{name}"), method));
    }
    write_safetensors(
        path.join("model.safetensors"),
        &tensors,
        &Default::default(),
    )
    .expect("writes");
    path
}

fn load(engine: &dyn Engine, source: &dyn WeightSource) -> Llama {
    let run = |recording: &Recording| engine.run(recording).map(|_| ());
    let loaded = Llama::load(source, 64, |recording| {
        Ok::<_, GenerateError>(run(recording)?)
    });
    loaded.expect("loads")
}

fn logits(engine: &dyn Engine, path: &Path) -> Vec<f32> {
    let source = HfWeights::open(path).expect("opens");
    let llama = load(engine, &source);
    let mut session = Session::new(engine, &llama, SessionOptions::default()).expect("a session");
    // A pass of several tokens, and one of one, which reorders a single row.
    session.feed(&[1, 7, 40, 3, 9]).expect("reads");
    session.feed_for_logits(&[21]).expect("reads")
}

#[test]
fn every_method_gives_the_logits_of_the_same_weights_as_floats() {
    let (cpu, gpu) = (CpuEngine::new(), gpu(options()));
    let plain = logits(&cpu, &folder("folder-dense", Method::Dense, false));
    let ordered = logits(&cpu, &folder("folder-dense-ordered", Method::Dense, true));
    for (name, method, expected) in [
        ("folder-gptq", Method::Gptq, &plain),
        ("folder-gptq-act", Method::GptqV2ActOrder, &ordered),
        ("folder-awq", Method::Awq, &plain),
        ("folder-packed", Method::Packed, &plain),
    ] {
        let path = folder(name, method, method == Method::GptqV2ActOrder);
        for engine in [&cpu as &dyn Engine, &gpu] {
            let found = logits(engine, &path);
            let largest = expected.iter().fold(0f32, |most, x| most.max(x.abs()));
            assert!(largest > 0.5, "{largest}");
            for (a, b) in found.iter().zip(expected) {
                // Sums of up to 256 products in another order, through some twenty operations.
                assert!((a - b).abs() < 2e-5 * largest, "{method:?}: {a} {b}");
            }
        }
    }
}

#[test]
fn weights_stay_in_four_bits_and_their_size_is_known_before() {
    let how = Use {
        cache: Default::default(),
        texts: 1,
        context: 64,
        pass: 16,
    };
    let cpu = CpuEngine::new();
    let dense = HfWeights::open(folder("folder-dense-size", Method::Dense, false)).expect("opens");
    let dense = Footprint::of(&dense, how).expect("sizes").weights;
    for method in [Method::Gptq, Method::Awq, Method::Packed] {
        let path = folder("folder-size", method, false);
        let source = HfWeights::open(&path).expect("opens");
        let planned = Footprint::of(&source, how).expect("sizes").weights;
        let llama = load(&cpu, &source);
        // The table of angles is not among the weights; buffers are padded to 16 bytes.
        let found = llama.n_bytes() + 64 * 32 * 4;
        assert!(
            found.abs_diff(planned) < 16 * 40,
            "{method:?}: {found} {planned}"
        );
        // Four bits, a scale of 16 and a zero point of 8 in 128 instead of 32.
        let elements: usize = LINEARS.iter().map(|(_, [n, k], _)| n * k).sum();
        let saved = elements as f64 * (32.0 - 4.0 - 24.0 / 128.0) / 8.0;
        let difference = (dense - planned) as f64;
        assert!(
            (difference / saved - 1.0).abs() < 0.01,
            "{difference} {saved}"
        );
    }
}

/// Words w2 to w47 after two special tokens.
fn tokenizer() -> String {
    let words: Vec<String> = (2..VOCABULARY)
        .map(|id| format!("\"w{id}\":{id}"))
        .collect();
    let special = |id: usize, content: &str| {
        format!(
            r#"{{"id":{id},"content":"{content}","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true}}"#
        )
    };
    format!(
        r#"{{"version":"1.0","truncation":null,"padding":null,"added_tokens":[{},{}],"normalizer":null,
        "pre_tokenizer":{{"type":"WhitespaceSplit"}},"post_processor":null,"decoder":null,
        "model":{{"type":"WordLevel","vocab":{{"<s>":0,"</s>":1,{}}},"unk_token":"</s>"}}}}"#,
        special(0, "<s>"),
        special(1, "</s>"),
        words.join(",")
    )
}

#[test]
fn a_text_begins_as_the_tokenizers_configuration_says() {
    let cpu = CpuEngine::new();
    let path = folder("folder-begin", Method::Awq, false);
    fs::write(path.join("tokenizer.json"), tokenizer()).expect("writes");
    let open = |config: &str| {
        fs::write(path.join("tokenizer_config.json"), config).expect("writes");
        LanguageModel::open(&cpu, &path, 16).expect("opens")
    };
    let tokens = |config: &str, text: &str| open(config).tokens(text).expect("tokens");
    let said = r#"{"bos_token":{"content":"<s>"},"eos_token":"</s>","add_bos_token":true}"#;
    assert_eq!(tokens(said, "w7 w2"), [0, 7, 2]);
    assert_eq!(tokens(said, "<s> w7"), [0, 7]);
    let not = said.replace("true", "false");
    assert_eq!(tokens(&not, "w7 w2"), [7, 2]);
    assert_eq!(tokens(&not, "<s> w7"), [0, 7]);
    assert_eq!(tokens("{}", "w7 w2"), [7, 2]);
    // Without a generation_config.json the end is what the tokenizer's configuration says.
    assert_eq!(open(said).ends(), [1]);
    let template = r#"{"bos_token":"<s>","add_bos_token":true,
        "chat_template":"{{ bos_token }}{% for m in messages %} {{ m.content }}{% endfor %}"}"#;
    let message = Message {
        role: "user".to_owned(),
        content: "w5".to_owned(),
    };
    let chat = open(template).chat_tokens(&[message]);
    assert_eq!(chat.expect("tokens"), [0, 5]);
}

/// `tokenizer.model` of SentencePiece: two pieces for the ends, letters and a word, by scores.
fn sentencepiece() -> Vec<u8> {
    let mut file = Vec::new();
    let mut pieces = vec![("<unk>", 2, 0.0), ("<s>", 3, 0.0), ("</s>", 3, 0.0)];
    let normal = ["\u{2581}", "h", "i", "hi", "\u{2581}hi"];
    pieces.extend(
        normal
            .into_iter()
            .zip(0..)
            .map(|(text, at)| (text, 1, -(at as f32))),
    );
    for (text, kind, score) in pieces {
        let mut piece = vec![0x0a, text.len() as u8];
        piece.extend(text.bytes());
        piece.push(0x15);
        piece.extend(f32::to_le_bytes(score));
        piece.extend([0x18, kind]);
        file.extend([0x0a, piece.len() as u8]);
        file.extend(piece);
    }
    // BPE, whose spaces stay as they are.
    file.extend([0x12, 2, 0x18, 2, 0x1a, 2, 0x20, 0]);
    file
}

#[test]
fn a_folder_may_hold_the_tokenizer_of_sentencepiece_instead() {
    let cpu = CpuEngine::new();
    let path = folder("folder-sentencepiece", Method::Awq, false);
    for left in [
        "tokenizer.model",
        "tokenizer_config.json",
        "added_tokens.json",
    ] {
        // Of an earlier run.
        let _ = fs::remove_file(path.join(left));
    }
    let open = || LanguageModel::open(&cpu, &path, 16);
    let said = open().expect_err("no tokenizer").to_string();
    let expected = "neither tokenizer.json nor tokenizer.model is there";
    assert!(said.ends_with(expected), "{said}");
    fs::write(path.join("tokenizer.model"), sentencepiece()).expect("writes");
    let model = open().expect("opens");
    assert_eq!(
        model.tokens("hi hi  h").expect("tokens"),
        [1, 7, 7, 3, 3, 4]
    );
    assert_eq!(model.ends(), [2]);
    let config = r#"{"bos_token":"<s>","eos_token":"</s>","add_bos_token":false}"#;
    fs::write(path.join("tokenizer_config.json"), config).expect("writes");
    assert_eq!(open().expect("opens").tokens("hi").expect("tokens"), [7]);
    fs::write(path.join("added_tokens.json"), r#"{"<pad>":9}"#).expect("writes");
    let said = open().expect_err("a gap").to_string();
    assert!(
        said.contains("an added token is \"<pad>\" with id 9"),
        "{said}"
    );
    fs::write(path.join("tokenizer.model"), "no model").expect("writes");
    let said = open().expect_err("no model").to_string();
    assert!(
        said.contains("folder-sentencepiece") && said.contains("tokenizer.model is no"),
        "{said}"
    );
}
