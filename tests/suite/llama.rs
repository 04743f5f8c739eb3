//! Small decoders with random weights against their definition, written out here in f64: every architecture,
//! texts read at once and in pieces, caches that grow, and what is refused.

use std::path::Path;

use lapidary::engine::gpu::GpuOptions;
use lapidary::engine::{CpuEngine, Engine};
use lapidary::generate::{
    BaseLogits, Candidates, CutText, Divergence, GenerateError, Sampler, Sampling, Session,
    SessionOptions, Windows, divergence, log_probabilities, verify,
};
use lapidary::io::hf::{DecoderConfig, DecoderKind};
use lapidary::models::llama::{
    CacheType, Footprint, Llama, LlamaError, ModelTensor, StoredMatrix, Use, WeightSource,
};
use lapidary::num::{RotaryScaling, Scheme, quantize};
use lapidary::ops::nn::Rotation;
use lapidary::record::Recording;
use lapidary::tensor::HostTensor;

use crate::support::{gpu, options, values};

/// What f32 may lose over two layers: their longest sums have 64 terms, and roundings of 6e-8 of values below 10
/// pass through some thirty operations.
const ALLOWED: f64 = 2e-5;

struct Random {
    config: DecoderConfig,
    rotation: Rotation,
    is_quantized: bool,
    /// What frequencies are divided by.
    rotary_factors: Option<Vec<f32>>,
    /// A tensor that has a row too many.
    too_long: Option<ModelTensor>,
    /// A tensor whose values are larger by a factor.
    larger: Option<(ModelTensor, f32)>,
}

fn random(kind: DecoderKind, rotation: Rotation) -> Random {
    let config = DecoderConfig {
        kind,
        vocabulary: 40,
        width: 32,
        n_layers: 2,
        ffn_width: 64,
        n_heads: 4,
        n_kv_heads: 2,
        head_dim: 16,
        rope_base: 1000.0,
        rope_scaling: RotaryScaling::None,
        rms_epsilon: 1e-5,
        context: 1024,
        sliding_window: None,
        tied_head: Some(false),
    };
    Random {
        config,
        rotation,
        is_quantized: false,
        rotary_factors: None,
        too_long: None,
        larger: None,
    }
}

impl Random {
    fn shape(&self, tensor: ModelTensor) -> Vec<usize> {
        use ModelTensor as T;
        let c = &self.config;
        let (q, kv) = (c.n_heads * c.head_dim, c.n_kv_heads * c.head_dim);
        let mut shape = match tensor {
            T::Embedding | T::Head => vec![c.vocabulary, c.width],
            T::OutputNorm | T::AttentionNorm(_) | T::FfnNorm(_) => vec![c.width],
            T::Q(_) => vec![q, c.width],
            T::K(_) | T::V(_) => vec![kv, c.width],
            T::QBias(_) => vec![q],
            T::KBias(_) | T::VBias(_) => vec![kv],
            T::QNorm(_) | T::KNorm(_) => vec![c.head_dim],
            T::AttentionOut(_) => vec![c.width, q],
            T::Gate(_) | T::Up(_) => vec![c.ffn_width, c.width],
            T::Down(_) => vec![c.width, c.ffn_width],
        };
        shape[0] += usize::from(self.too_long == Some(tensor));
        shape
    }

    /// Values as they are stored, so that the definition has the same ones.
    fn values(&self, tensor: ModelTensor) -> Vec<f32> {
        let shape = self.shape(tensor);
        match &self.stored(tensor, &shape) {
            StoredMatrix::Dense(host) => host.to_f32().expect("f32"),
            StoredMatrix::Quantized(matrix) | StoredMatrix::Ordered(matrix, _) => {
                matrix.dequantize()
            }
        }
    }

    fn stored(&self, tensor: ModelTensor, shape: &[usize]) -> StoredMatrix {
        let name = tensor.hf_name();
        let seed = name.bytes().fold(7, |seed: u64, byte| {
            seed.wrapping_mul(31).wrapping_add(byte.into())
        });
        let mut all = values(seed, shape.iter().product());
        let is_norm = name.contains("norm");
        let mut scale = if is_norm { 0.2 } else { 0.4 };
        if let Some((_, factor)) = self.larger.filter(|(larger, _)| *larger == tensor) {
            scale *= factor;
        }
        for value in &mut all {
            *value = scale * *value + f32::from(u8::from(is_norm));
        }
        if let (&[n, k], true) = (shape, self.is_quantized) {
            let scheme = Scheme::int4_group_minimum(32);
            let matrix = quantize(&name, &all, n, k, &scheme).expect("finite");
            return StoredMatrix::Quantized(matrix);
        }
        StoredMatrix::Dense(HostTensor::from_f32(shape.to_vec(), &all).expect("shape fits"))
    }

    /// `y = x w^T` for rows of x.
    fn product(
        &self,
        x: &[Vec<f64>],
        tensor: ModelTensor,
        bias: Option<ModelTensor>,
    ) -> Vec<Vec<f64>> {
        let k = self.shape(tensor)[1];
        let w = self.values(tensor);
        let bias = bias.map(|bias| self.values(bias));
        let row = |x: &Vec<f64>| -> Vec<f64> {
            let dot =
                |row: &[f32]| -> f64 { row.iter().zip(x).map(|(w, x)| f64::from(*w) * x).sum() };
            let sums = w.chunks(k).map(dot).enumerate();
            let added = |n: usize| bias.as_ref().map_or(0.0, |bias| f64::from(bias[n]));
            sums.map(|(n, sum)| sum + added(n)).collect()
        };
        x.iter().map(row).collect()
    }

    fn norm(&self, x: &[f64], tensor: ModelTensor) -> Vec<f64> {
        let gamma = self.values(tensor);
        let mean = x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64;
        let inverse = 1.0 / (mean + self.config.rms_epsilon).sqrt();
        x.iter()
            .zip(gamma)
            .map(|(x, g)| x * inverse * f64::from(g))
            .collect()
    }

    fn norms(&self, x: &[Vec<f64>], tensor: ModelTensor) -> Vec<Vec<f64>> {
        x.iter().map(|row| self.norm(row, tensor)).collect()
    }

    /// A head at a position, rotated.
    fn rotated(&self, head: &[f64], position: usize) -> Vec<f64> {
        let dim = head.len();
        let mut out = head.to_vec();
        for pair in 0..dim / 2 {
            let (a, b) = match self.rotation {
                Rotation::Halves => (pair, pair + dim / 2),
                Rotation::Neighbours | Rotation::None => (2 * pair, 2 * pair + 1),
            };
            let mut frequency = self.config.rope_base.powf(-2.0 * pair as f64 / dim as f64);
            if let RotaryScaling::Linear { factor } = self.config.rope_scaling {
                frequency /= factor;
            }
            if let Some(factors) = &self.rotary_factors {
                frequency /= f64::from(factors[pair]);
            }
            let (sin, cos) = (position as f64 * frequency).sin_cos();
            out[a] = head[a] * cos - head[b] * sin;
            out[b] = head[b] * cos + head[a] * sin;
        }
        out
    }

    /// Logits after every token.
    fn logits(&self, tokens: &[u32]) -> Vec<Vec<f64>> {
        use ModelTensor as T;
        let c = &self.config;
        let table = self.values(T::Embedding);
        let row = |&token: &u32| -> Vec<f64> {
            let row = &table[token as usize * c.width..][..c.width];
            row.iter().copied().map(f64::from).collect()
        };
        let mut x: Vec<Vec<f64>> = tokens.iter().map(row).collect();
        for layer in 0..c.n_layers {
            let h = self.norms(&x, T::AttentionNorm(layer));
            let is_biased = c.kind == DecoderKind::Qwen2;
            let bias = |tensor| is_biased.then_some(tensor);
            let q = self.product(&h, T::Q(layer), bias(T::QBias(layer)));
            let k = self.product(&h, T::K(layer), bias(T::KBias(layer)));
            let v = self.product(&h, T::V(layer), bias(T::VBias(layer)));
            let head = |rows: &[Vec<f64>], at: usize, index: usize, norm: Option<T>| {
                let head = &rows[at][index * c.head_dim..][..c.head_dim];
                match norm {
                    Some(norm) => self.norm(head, norm),
                    None => head.to_vec(),
                }
            };
            let normed = |tensor| (c.kind == DecoderKind::Qwen3).then_some(tensor);
            let mut seen = Vec::new();
            for at in 0..x.len() {
                let mut row = Vec::new();
                for index in 0..c.n_heads {
                    let shared = index / (c.n_heads / c.n_kv_heads);
                    let query = self.rotated(&head(&q, at, index, normed(T::QNorm(layer))), at);
                    let scores: Vec<f64> = (0..=at)
                        .map(|key| {
                            let keys = head(&k, key, shared, normed(T::KNorm(layer)));
                            let keys = self.rotated(&keys, key);
                            let dot: f64 = query.iter().zip(&keys).map(|(a, b)| a * b).sum();
                            (dot / (c.head_dim as f64).sqrt()).exp()
                        })
                        .collect();
                    let sum: f64 = scores.iter().sum();
                    let mut out = vec![0.0; c.head_dim];
                    for (key, score) in scores.iter().enumerate() {
                        for (out, v) in out.iter_mut().zip(head(&v, key, shared, None)) {
                            *out += score / sum * v;
                        }
                    }
                    row.extend(out);
                }
                seen.push(row);
            }
            add(&mut x, &self.product(&seen, T::AttentionOut(layer), None));
            let h = self.norms(&x, T::FfnNorm(layer));
            let mut gated = self.product(&h, T::Gate(layer), None);
            let up = self.product(&h, T::Up(layer), None);
            for (gate, up) in gated.iter_mut().flatten().zip(up.iter().flatten()) {
                *gate = *gate / (1.0 + (-*gate).exp()) * up;
            }
            add(&mut x, &self.product(&gated, T::Down(layer), None));
        }
        self.product(&self.norms(&x, T::OutputNorm), T::Head, None)
    }
}

fn add(x: &mut [Vec<f64>], more: &[Vec<f64>]) {
    for (x, more) in x.iter_mut().flatten().zip(more.iter().flatten()) {
        *x += more;
    }
}

impl WeightSource for Random {
    fn path(&self) -> &Path {
        Path::new("random")
    }

    fn config(&self) -> Result<DecoderConfig, LlamaError> {
        Ok(self.config.clone())
    }

    fn rotation(&self) -> Rotation {
        self.rotation
    }

    fn rotary_factors(&self) -> Result<Option<Vec<f32>>, LlamaError> {
        Ok(self.rotary_factors.clone())
    }

    fn name(&self, tensor: ModelTensor) -> String {
        tensor.hf_name()
    }

    fn has(&self, _: ModelTensor) -> bool {
        true
    }

    fn matrix(&self, tensor: ModelTensor) -> Result<StoredMatrix, LlamaError> {
        Ok(self.stored(tensor, &self.shape(tensor)))
    }

    fn vector(&self, tensor: ModelTensor) -> Result<HostTensor, LlamaError> {
        let shape = self.shape(tensor);
        Ok(HostTensor::from_f32(shape, &self.values(tensor)).expect("shape fits"))
    }
}

fn load(engine: &dyn Engine, source: &Random, context: usize) -> Result<Llama, GenerateError> {
    Llama::load(source, context, |recording: &Recording| {
        engine.run(recording)?;
        Ok::<_, GenerateError>(())
    })
}

/// Tokens without structure.
fn text(n: usize) -> Vec<u32> {
    values(3, n)
        .iter()
        .map(|x| ((x + 1.0) * 19.9) as u32)
        .collect()
}

fn worst(found: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let pairs = found.iter().zip(expected);
    pairs.fold(0.0, |worst, (a, b)| worst.max((f64::from(*a) - b).abs()))
}

/// Logits after a text that is read in pieces of these lengths.
fn logits(engine: &dyn Engine, llama: &Llama, cache: CacheType, pieces: &[usize]) -> Vec<f32> {
    let options = SessionOptions {
        cache,
        ..SessionOptions::default()
    };
    let mut session = Session::new(engine, llama, options).expect("a session");
    let tokens = text(pieces.iter().sum());
    let mut rest = tokens.as_slice();
    let mut logits = Vec::new();
    for &piece in pieces {
        let (now, later) = rest.split_at(piece);
        logits = session.feed_for_logits(now).expect("reads");
        rest = later;
    }
    logits
}

#[test]
fn every_architecture_gives_the_logits_of_its_definition() {
    for (kind, rotation) in [
        (DecoderKind::Llama, Rotation::Neighbours),
        (DecoderKind::Mistral, Rotation::Halves),
        (DecoderKind::Qwen2, Rotation::Halves),
        (DecoderKind::Qwen3, Rotation::Halves),
    ] {
        let source = random(kind, rotation);
        let expected = source.logits(&text(5));
        for cpu in [CpuEngine::new(), CpuEngine::fast()] {
            let llama = load(&cpu, &source, 64).expect("loads");
            let found = logits(&cpu, &llama, CacheType::F32, &[3, 1, 1]);
            let worst = worst(&found, &expected[4]);
            assert!(worst < ALLOWED, "{kind:?} on {}: {worst}", cpu.name());
        }
    }
}

#[test]
fn scaled_rotations_give_the_logits_of_their_definition_and_others_than_without() {
    let cpu = CpuEngine::fast();
    let plain = random(DecoderKind::Llama, Rotation::Halves).logits(&text(9));
    for is_factors in [false, true] {
        let mut source = random(DecoderKind::Llama, Rotation::Halves);
        if is_factors {
            source.rotary_factors = Some(vec![1.0, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0, 8.0]);
        } else {
            source.config.rope_scaling = RotaryScaling::Linear { factor: 4.0 };
        }
        let expected = source.logits(&text(9));
        let llama = load(&cpu, &source, 64).expect("loads");
        let found = logits(&cpu, &llama, CacheType::F32, &[9]);
        assert!(worst(&found, &expected[8]) < ALLOWED);
        assert!(worst(&found, &plain[8]) > 100.0 * ALLOWED);
    }
}

#[test]
fn engines_agree_with_the_definition_whatever_the_pieces_and_the_format() {
    agrees(&gpu(options()));
    agrees(&CpuEngine::fast());
}

fn agrees(engine: &dyn Engine) {
    let mut source = random(DecoderKind::Llama, Rotation::Neighbours);
    source.is_quantized = true;
    let llama = load(engine, &source, 64).expect("loads");
    let expected = &source.logits(&text(21))[20];
    let largest = expected.iter().fold(1.0f64, |most, x| most.max(x.abs()));
    for pieces in [&[21][..], &[1, 20], &[17, 1, 1, 1, 1]] {
        let found = logits(engine, &llama, CacheType::F32, pieces);
        let worst = worst(&found, expected);
        assert!(
            worst < ALLOWED * largest,
            "{pieces:?}: {worst} of {largest}"
        );
    }
    // 11 bits of f16 and 7 of int8, in keys and values only.
    for (cache, allowed) in [(CacheType::F16, 5e-3), (CacheType::Int8, 5e-2)] {
        let found = logits(engine, &llama, cache, &[20, 1]);
        let worst = worst(&found, expected);
        assert!(worst > 0.0 && worst < allowed * largest, "{cache}: {worst}");
    }
}

#[test]
fn a_cache_that_grows_gives_what_one_that_was_large_gives() {
    let source = random(DecoderKind::Llama, Rotation::Halves);
    for engine in [&gpu(options()) as &dyn Engine, &CpuEngine::fast()] {
        let llama = load(engine, &source, 1024).expect("loads");
        for cache in CacheType::ALL {
            let at_once = logits(engine, &llama, cache, &[300]);
            let in_pieces = logits(engine, &llama, cache, &[128, 120, 8, 44]);
            let at_once: Vec<f64> = at_once.iter().copied().map(f64::from).collect();
            let worst = worst(&in_pieces, &at_once);
            assert!(worst < ALLOWED, "{cache} on {}: {worst}", engine.name());
        }
    }
}

#[test]
fn log_probabilities_and_windows_are_those_of_the_definition() {
    let cpu = CpuEngine::new();
    let source = random(DecoderKind::Llama, Rotation::Neighbours);
    let llama = load(&cpu, &source, 64).expect("loads");
    let tokens = text(9);
    let of = |given: &[u32], from: usize| -> Vec<f64> {
        let rows = source.logits(given);
        (from..given.len())
            .map(|at| {
                let row = &rows[at - 1];
                let sum: f64 = row.iter().map(|x| x.exp()).sum();
                row[given[at] as usize] - sum.ln()
            })
            .collect()
    };
    let judge = |window, stride| {
        let windows = Windows { window, stride };
        let options = SessionOptions::default();
        let judged = log_probabilities(&cpu, &llama, &tokens, windows, options, &mut |_, _| true);
        judged.expect("judges").log_probabilities
    };
    let apart = [of(&tokens[..4], 1), of(&tokens[4..8], 1)].concat();
    assert!(worst(&judge(4, 4), &apart) < ALLOWED);
    // A window of 4 every 2: the last two tokens of each count, after the first window.
    let overlapping = [
        of(&tokens[..4], 1),
        of(&tokens[2..6], 2),
        of(&tokens[4..8], 2),
        of(&tokens[6..9], 2),
    ];
    assert!(worst(&judge(4, 2), &overlapping.concat()) < ALLOWED);
}

#[test]
fn a_base_that_was_read_before_part_by_part_gives_what_both_models_at_once_give() {
    let cpu = CpuEngine::new();
    let source = random(DecoderKind::Llama, Rotation::Neighbours);
    let mut changed = random(DecoderKind::Llama, Rotation::Neighbours);
    changed.larger = Some((ModelTensor::Down(0), 1.5));
    let base = load(&cpu, &source, 64).expect("loads");
    let model = load(&cpu, &changed, 64).expect("loads");
    let (tokens, options) = (text(17), SessionOptions::default());
    for (window, stride) in [(6, 6), (6, 2), (17, 17)] {
        let windows = Windows { window, stride };
        let go_on = &mut |_, _| true;
        let at_once = divergence(&cpu, [&model, &base], &tokens, windows, options, go_on);
        let at_once = at_once.expect("compares");
        assert!(at_once.mean() > 1e-4, "another model");
        let cut = CutText::new(tokens.clone(), windows, 64).expect("fits");
        assert_eq!(at_once.nats.len(), cut.n_predictions());
        let vocabulary = base.config().vocabulary;
        // Of one window each, of two or three, and of all.
        let few = 2 * cut.largest_window_bytes(vocabulary);
        for most in [0, few, u64::MAX] {
            let mut found = Divergence::default();
            let mut read = 0;
            for part in cut.parts(vocabulary, most) {
                let session = |llama| Session::new(&cpu, llama, options).expect("a session");
                let logits =
                    BaseLogits::read(&mut session(&base), (&cut, part.clone()), &mut |_| {});
                let logits = logits.expect("reads");
                let own = Divergence::from_base(&mut session(&model), &cut, &logits, &mut |n| {
                    read += n;
                });
                let own = own.expect("compares");
                assert_eq!(own.base, logits.perplexity);
                found.append(own);
            }
            assert_eq!(found, at_once, "window {window}, stride {stride}, {most}");
            assert_eq!(read, cut.n_read_of(0..usize::MAX));
        }
    }
}

#[test]
fn what_does_not_fit_is_refused_before_anything_is_read() {
    let cpu = CpuEngine::new();
    let source = random(DecoderKind::Llama, Rotation::Neighbours);
    let llama = load(&cpu, &source, 4).expect("loads");
    let mut session = Session::new(&cpu, &llama, SessionOptions::default()).expect("a session");
    session.feed(&[1, 2]).expect("fits");
    let error = session
        .feed(&[3, 4, 5])
        .expect_err("5 tokens do not fit 4 positions");
    assert_eq!(
        error.to_string(),
        "the context is full: 2 tokens are there and 3 more do not fit 4"
    );
    assert_eq!(session.position(), 2);
    assert!(matches!(session.feed(&[]), Err(GenerateError::EmptyPrompt)));
    let error = session.feed(&[40]).expect_err("40 is no token of 40");
    assert!(matches!(
        error,
        GenerateError::NoSuchToken { token: 40, .. }
    ));
    session.feed(&[3, 4]).expect("fits to the last position");

    let none = SessionOptions {
        n_candidates: 41,
        ..SessionOptions::default()
    };
    assert!(Session::new(&cpu, &llama, none).is_err());
    let wrong = Random {
        too_long: Some(ModelTensor::V(1)),
        ..source
    };
    let error = load(&cpu, &wrong, 4).expect_err("a row too many");
    assert_eq!(
        error.to_string(),
        "random: tensor `model.layers.1.self_attn.v_proj.weight` has shape [33, 32], its configuration wants [32, 32]"
    );
}

#[test]
fn the_most_likely_tokens_come_back_in_order() {
    let cpu = CpuEngine::new();
    let source = random(DecoderKind::Llama, Rotation::Neighbours);
    let llama = load(&cpu, &source, 8).expect("loads");
    let options = SessionOptions {
        n_candidates: 5,
        ..SessionOptions::default()
    };
    let mut session = Session::new(&cpu, &llama, options).expect("a session");
    let found = session.feed(&text(3)).expect("reads");
    let expected = &source.logits(&text(3))[2];
    let mut order: Vec<u32> = (0..40).collect();
    order.sort_by(|&a, &b| expected[b as usize].total_cmp(&expected[a as usize]));
    assert_eq!(found.tokens, order[..5]);
    let sampler = Sampler::new(Sampling::default()).expect("allowed");
    assert_eq!(sampler.choose(&found, &text(3)), Some(order[0]));
}

#[test]
fn texts_of_different_lengths_side_by_side_are_what_each_is_alone() {
    let gpu = gpu(options());
    for (kind, cache) in [
        (DecoderKind::Llama, CacheType::F32),
        (DecoderKind::Qwen3, CacheType::F16),
        (DecoderKind::Qwen2, CacheType::Int8),
    ] {
        let mut source = random(kind, Rotation::Halves);
        source.is_quantized = true;
        let llama = load(&gpu, &source, 400).expect("loads");
        let options = SessionOptions {
            cache,
            n_candidates: 3,
            ..SessionOptions::default()
        };
        let all = text(200);
        // Of one token, of some, and of more than a pass, so that the cache grows; then rests of which one is none.
        let pieces = [
            [&all[..1], &all[10..30], &all[..140]],
            [&all[1..9], &[], &all[140..141]],
            [&all[9..10], &all[30..31], &all[141..142]],
        ];
        let mut session = Session::of_texts(&gpu, &llama, options, 3).expect("a session");
        let mut alone: Vec<Session<'_>> = (0..3)
            .map(|_| Session::new(&gpu, &llama, options).expect("a session"))
            .collect();
        for given in pieces {
            let found = session.feed_each(&given).expect("reads");
            for (text, alone) in alone.iter_mut().enumerate() {
                if given[text].is_empty() {
                    assert_eq!(found[text], Candidates::default());
                    continue;
                }
                let expected = alone.feed(given[text]).expect("reads");
                assert_eq!(found[text].tokens, expected.tokens, "{kind:?} {text}");
                let expected: Vec<f64> = expected.logits.iter().copied().map(f64::from).collect();
                // An int8 code may fall on either side of a half.
                let allowed = if cache == CacheType::F32 {
                    ALLOWED
                } else {
                    5e-2
                };
                let worst = worst(&found[text].logits, &expected);
                assert!(worst < allowed, "{kind:?} {text}: {worst}");
            }
            let positions: Vec<usize> = alone.iter().map(Session::position).collect();
            assert_eq!(session.positions(), positions);
        }
        let error = session.feed(&[1]).expect_err("one text for three");
        assert_eq!(error.to_string(), "tokens of 1 texts for a session of 3");
        let error = session.feed_each(&[&[], &[], &[]]).expect_err("nothing");
        assert!(matches!(error, GenerateError::EmptyPrompt));
        let error = session.feed_each(&[&[1], &all, &all[..300 - 142]]);
        assert!(error.is_ok(), "{error:?}");
        let error = session.feed_each(&[&[1], &all, &[]]).expect_err("too many");
        assert!(matches!(
            error,
            GenerateError::ContextFull { position: 221, .. }
        ));
    }
}

#[test]
fn the_memory_a_model_needs_is_known_before_it_is_uploaded() {
    let source = random(DecoderKind::Qwen2, Rotation::Halves);
    for texts in [1, 3] {
        let engine = gpu(options());
        let llama = load(&engine, &source, 500).expect("loads");
        let how = Use {
            cache: CacheType::F16,
            texts,
            context: 500,
            pass: 128,
        };
        let planned = Footprint::of(&source, how).expect("sizes");
        // Of each tensor up to 15 bytes are padding; the table of angles is on top of what the model counts.
        let angles = 500 * 16 * 4;
        let weights = llama.n_bytes() + angles;
        assert!(
            weights.abs_diff(planned.weights) < 16 * 60,
            "{planned:?} {weights}"
        );
        assert_eq!(planned.largest.1, 2 * 64 * 32 * 4);
        // A text as long as the context takes no more than was planned, with the engine's own rounding of sizes.
        let settings = SessionOptions {
            cache: CacheType::F16,
            ..SessionOptions::default()
        };
        let session = Session::of_texts(&engine, &llama, settings, texts);
        let mut session = session.expect("a session");
        let tokens = text(500);
        session
            .feed_each(&vec![tokens.as_slice(); texts])
            .expect("reads");
        assert!(session.cache_bytes() <= planned.cache);
        let held = engine.device_bytes().expect("counts");
        assert!(held <= planned.total(), "{held} {planned:?}");
        assert!(planned.check(&source, Some(planned.total()), None).is_ok());
        let error = planned.check(&source, Some(planned.total() - 1), None);
        assert!(matches!(error, Err(LlamaError::Memory { .. })));
        let error = planned
            .check(&source, None, Some(5000))
            .expect_err("too large");
        assert_eq!(
            error.to_string(),
            "random: tensor `model.layers.0.self_attn.q_proj.weight` needs 16384 bytes; a buffer of this device has at most 5000"
        );
    }
    let small = gpu(GpuOptions {
        memory_budget: Some(1000),
        ..options()
    });
    assert_eq!(small.memory_limits().free, Some(1000));
}

#[test]
fn operations_are_verified_one_by_one_and_an_overflow_is_named_where_it_arises() {
    let gpu = gpu(options());
    let mut source = random(DecoderKind::Llama, Rotation::Neighbours);
    source.is_quantized = true;
    let tokens = text(5);
    let judge = |source: &Random, cache: CacheType| {
        let llama = load(&gpu, source, 64).expect("loads");
        let options = SessionOptions {
            cache,
            n_candidates: 3,
            ..SessionOptions::default()
        };
        let mut places = Vec::new();
        let found = verify(&gpu, &llama, &tokens, options, &mut |place| {
            places.push(place.to_owned());
            true
        });
        (found.expect("runs"), places)
    };
    for cache in CacheType::ALL {
        let (found, places) = judge(&source, cache);
        assert!(found.passed(), "{cache}: {found:?}");
        assert!(found.operations > 40, "{found:?}");
        assert!(found.worst_over_bound > 0.0 && found.worst_over_bound <= 1.0);
        let expected = ["embedding", "layer 0", "layer 1", "head"];
        let expected = ["reading 4 tokens", "reading 1 token"]
            .iter()
            .flat_map(|pass| expected.map(|part| format!("{pass}, {part}")));
        assert_eq!(places, expected.collect::<Vec<_>>());
    }
    // Values of the second layer that f16 cannot hold; f32 can.
    source.larger = Some((ModelTensor::V(1), 1e5));
    assert!(judge(&source, CacheType::F32).0.passed());
    let (found, _) = judge(&source, CacheType::F16);
    let overflow = found.first_overflow.expect("too large for f16");
    // What is made of infinities may be wrong; nothing was before.
    assert!(
        found
            .first_wrong
            .is_none_or(|wrong| wrong.number > overflow.number)
    );
    assert_eq!(overflow.place, "reading 4 tokens, layer 1");
    assert_eq!(overflow.kernel, "rotary");
    let element = overflow.element.expect("an element");
    assert!(element.got.is_infinite() && element.expected.abs() > 65504.0);
}
