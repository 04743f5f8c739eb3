//! Attention: against PyTorch's results, one tensor of everything against three, parts of a cache against the
//! whole, and what is refused. Its gradients against differences stand in `gradients.rs`.
//!
//! `tests/data/torch_attention.safetensors` holds `scaled_dot_product_attention` with inputs, result, the
//! gradient that arrives and those of the inputs, made by PyTorch 2.15.0 on the CPU in f32.

use lapidary::engine::{CpuEngine, Engine};
use lapidary::io::safetensors::SafetensorsFile;
use lapidary::kernels::FloatType;
use lapidary::num::{rotary_frequencies, rotary_table};
use lapidary::ops::OpError;
use lapidary::ops::nn::{
    AttentionOptions, HeadOrder, Heads, Int8Cache, Mask, RotaryOptions, Rotation, WantedHeads,
    append_to_cache, append_to_int8_cache, attention, attention_backward, attention_fused,
    attention_in_parts, attention_over_int8, rotary, upload_rotary_table,
};
use lapidary::record::{Recording, Tensor};
use lapidary::tensor::{DType, HostTensor};
use lapidary::verify::compare_recording;

use crate::support::{gpu, options, values};

/// Allowed difference from PyTorch's results, of the largest element of each.
const RELATIVE: f32 = 2e-6;

const HEADS_FIRST: AttentionOptions = AttentionOptions {
    order: HeadOrder::HeadsFirst,
    kv_order: HeadOrder::HeadsFirst,
    mask: Mask::Full,
    scale: None,
    lengths: None,
    out: FloatType::F32,
};

const BOTH: WantedHeads = WantedHeads {
    queries: true,
    keys_and_values: true,
};

fn upload(recording: &mut Recording, seed: u64, shape: &[usize]) -> Tensor {
    let values = values(seed, shape.iter().product());
    recording.upload(&HostTensor::from_f32(shape.to_vec(), &values).expect("shape fits"))
}

/// Every dispatch of the recording is within its bound on the adapter.
fn prove(recording: &Recording) {
    for report in compare_recording(&gpu(options()), recording).expect("runs") {
        let (kernel, shape, comparison) = (report.kernel, report.shape, report.comparison);
        assert!(
            comparison.elements > 0 && comparison.passed(),
            "{kernel} ({shape}): {comparison:?}"
        );
    }
}

#[test]
fn attention_and_its_gradients_agree_with_torch() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/data/torch_attention.safetensors"
    );
    let torch = SafetensorsFile::open(path).expect("the fixture is part of the repository");
    let get = |part: &str| {
        torch
            .tensor(&format!("op.sdpa_full.{part}"))
            .unwrap_or_else(|error| panic!("{error}"))
    };
    let mut recording = Recording::new();
    let [q, k, v, dy] = ["in0", "in1", "in2", "gout"].map(|part| recording.upload(&get(part)));
    let heads = Heads {
        q: &q,
        k: &k,
        v: &v,
    };
    let made = attention(&mut recording, heads, &HEADS_FIRST).expect("served");
    let gradients = attention_backward(&mut recording, heads, (&made, &dy), BOTH, &HEADS_FIRST);
    let gradients = gradients.expect("served");
    recording.download(&made.out);
    for gradient in [gradients.q, gradients.k, gradients.v] {
        recording.download(&gradient.expect("wanted"));
    }
    let adapter = gpu(options());
    let engines: [&dyn Engine; 2] = [&CpuEngine::new(), &adapter];
    for engine in engines {
        let results = engine.run(&recording).expect("runs");
        for (part, result) in ["out", "grad0", "grad1", "grad2"].into_iter().zip(results) {
            let expected = get(part).to_f32().expect("f32");
            let got = result.to_f32().expect("f32");
            assert_eq!(got.len(), expected.len(), "{part}");
            let largest = expected
                .iter()
                .fold(0.0_f32, |most, one| most.max(one.abs()));
            let pairs = got.iter().zip(&expected);
            let worst = pairs.fold(0.0_f32, |most, (a, b)| most.max((a - b).abs()));
            assert!(
                worst <= RELATIVE * largest,
                "{part} on {}: {:e} of the largest",
                engine.name(),
                worst / largest
            );
        }
    }
    prove(&recording);
}

#[test]
fn one_tensor_of_queries_keys_and_values_gives_the_same_bits_as_three() {
    let (batch, tokens, heads, kv_heads, dim) = (2, 9, 4, 2, 8);
    let all = heads + 2 * kv_heads;
    let whole = values(7, batch * tokens * all * dim);
    let part = |from: usize, count: usize| {
        let rows = whole.chunks(all * dim);
        let taken = rows.flat_map(|row| row[from * dim..(from + count) * dim].iter().copied());
        HostTensor::from_f32(vec![batch, tokens, count, dim], &taken.collect::<Vec<_>>())
            .expect("shape fits")
    };
    let mut recording = Recording::new();
    let fused = HostTensor::from_f32(vec![batch, tokens, all, dim], &whole).expect("shape fits");
    let fused = recording.upload(&fused);
    let q = recording.upload(&part(0, heads));
    let k = recording.upload(&part(heads, kv_heads));
    let v = recording.upload(&part(heads + kv_heads, kv_heads));
    let causal = AttentionOptions {
        mask: Mask::Causal,
        ..AttentionOptions::default()
    };
    let of_one = attention_fused(&mut recording, &fused, kv_heads, &causal).expect("served");
    let three = Heads {
        q: &q,
        k: &k,
        v: &v,
    };
    let of_three = attention(&mut recording, three, &causal).expect("served");
    assert_eq!(of_one.out.shape(), of_three.out.shape());
    recording.download(&of_one.out);
    recording.download(&of_three.out);
    let adapter = gpu(options());
    let engines: [&dyn Engine; 2] = [&CpuEngine::new(), &adapter];
    for engine in engines {
        let results = engine.run(&recording).expect("runs");
        assert_eq!(results[0], results[1], "on {}", engine.name());
    }
    prove(&recording);
}

#[test]
fn a_plan_over_a_cache_serves_every_length_in_parts_and_whole() {
    let (batch, heads, kv_heads, capacity, dim) = (2, 6, 2, 50, 8);
    let mut recording = Recording::new();
    let q = upload(&mut recording, 1, &[batch, 1, heads, dim]);
    let k = upload(&mut recording, 2, &[batch, kv_heads, capacity, dim]);
    let v = upload(&mut recording, 3, &[batch, kv_heads, capacity, dim]);
    let lengths = recording.input(DType::U32, &[batch]);
    let heads = Heads {
        q: &q,
        k: &k,
        v: &v,
    };
    let cached = AttentionOptions {
        kv_order: HeadOrder::HeadsFirst,
        mask: Mask::CausalInCache,
        lengths: Some(lengths.clone()),
        ..AttentionOptions::default()
    };
    let whole = attention(&mut recording, heads, &cached).expect("served");
    recording.download(&whole.out);
    let parts = attention_in_parts(&mut recording, heads, 4, &cached).expect("served");
    recording.download(&parts);
    let adapter = gpu(options());
    let plan = adapter.prepare(&recording).expect("prepared");
    for given in [[1, 50], [3, 17], [0, 4]] {
        let lengths_now = HostTensor::from_words_u32(vec![batch], &given);
        let results = plan.run(&[lengths_now.expect("fits")]).expect("runs");
        let [a, b] = [&results[0], &results[1]].map(|one| one.to_f32().expect("f32"));
        for (sequence, (a, b)) in a.chunks(48).zip(b.chunks(48)).enumerate() {
            let any = a.iter().any(|&one| one != 0.0);
            assert_eq!(any, given[sequence] > 0, "{given:?}");
            let worst = a
                .iter()
                .zip(b)
                .map(|(a, b)| (a - b).abs())
                .fold(0.0, f32::max);
            // Weighted means of values below 1: a few roundings each.
            assert!(worst < 1e-6, "{given:?}: {worst:e}");
        }
    }
}

#[test]
fn a_cache_filled_token_by_token_gives_what_all_tokens_at_once_give() {
    let (tokens, heads, kv_heads, dim, capacity) = (5, 4, 2, 8, 7);
    let all = heads + 2 * kv_heads;
    let rows = values(5, tokens * all * dim);
    let table = rotary_table(capacity, &rotary_frequencies(dim, 10_000.0));
    // Appends `count` tokens to both caches and attends from them.
    let step = |recording: &mut Recording, count: usize, [keys, cached_values]: [&Tensor; 2]| {
        let table = upload_rotary_table(recording, capacity, &table).expect("pairs");
        let qkv = recording.input(DType::F32, &[1, count, all, dim]);
        let starts = recording.input(DType::U32, &[1]);
        let lengths = recording.input(DType::U32, &[1]);
        let turned = RotaryOptions {
            starts: &starts,
            table: &table,
            rotation: Rotation::Halves,
            order: HeadOrder::TokensFirst,
            heads: Some(0..heads),
            is_backward: false,
            out: FloatType::F32,
        };
        let q = rotary(recording, &qkv, &turned).expect("served");
        let of = |heads: std::ops::Range<usize>, rotation| RotaryOptions {
            rotation,
            heads: Some(heads),
            ..turned.clone()
        };
        let of_keys = of(heads..heads + kv_heads, Rotation::Halves);
        let of_values = of(heads + kv_heads..all, Rotation::None);
        append_to_cache(recording, &qkv, keys, &of_keys).expect("served");
        append_to_cache(recording, &qkv, cached_values, &of_values).expect("served");
        let cached = AttentionOptions {
            kv_order: HeadOrder::HeadsFirst,
            mask: Mask::CausalInCache,
            lengths: Some(lengths),
            ..AttentionOptions::default()
        };
        let heads = Heads {
            q: &q,
            k: keys,
            v: cached_values,
        };
        let attended = attention(recording, heads, &cached).expect("served");
        recording.download(&attended.out);
    };
    let adapter = gpu(options());
    let run = |count: usize| {
        let cache = || Tensor::new(DType::F32, &[1, kv_heads, capacity, dim]);
        let (keys, cached_values) = (cache(), cache());
        let mut zeros = Recording::new();
        let zero = vec![0; keys.len()];
        for cache in [&keys, &cached_values] {
            zeros
                .upload_words(cache.buffer(), zero.clone())
                .expect("fits");
        }
        adapter.run(&zeros).expect("runs");
        let mut recording = Recording::new();
        step(&mut recording, count, [&keys, &cached_values]);
        let plan = adapter.prepare(&recording).expect("prepared");
        let mut results = Vec::new();
        for (index, rows) in rows.chunks(count * all * dim).enumerate() {
            let word = |value: usize| HostTensor::from_words_u32(vec![1], &[value as u32]);
            let made = plan.run(&[
                HostTensor::from_f32(vec![1, count, all, dim], rows).expect("fits"),
                word(index * count).expect("fits"),
                word((index + 1) * count).expect("fits"),
            ]);
            results.extend(made.expect("runs")[0].to_f32().expect("f32"));
        }
        results
    };
    let (at_once, one_by_one) = (run(tokens), run(1));
    assert_eq!(at_once.len(), tokens * heads * dim);
    let pairs = at_once.iter().zip(&one_by_one);
    let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst < 1e-6, "{worst:e}");
}

#[test]
fn a_cache_in_int8_gives_nearly_what_one_in_f32_gives() {
    let (tokens, heads, kv_heads, dim, capacity) = (6, 4, 2, 16, 9);
    let mut recording = Recording::new();
    let q = upload(&mut recording, 1, &[1, 1, heads, dim]);
    let k = upload(&mut recording, 2, &[1, tokens, kv_heads, dim]);
    let v = upload(&mut recording, 3, &[1, tokens, kv_heads, dim]);
    let words = |value: u32| HostTensor::from_words_u32(vec![1], &[value]).expect("fits");
    let starts = recording.upload(&words(0));
    let lengths = recording.upload(&words(tokens as u32));
    let caches = [0, 1].map(|_| Int8Cache::new([1, kv_heads, capacity, dim]));
    for (x, cache) in [&k, &v].into_iter().zip(&caches) {
        cache.clear(&mut recording).expect("fits");
        let all = (x, HeadOrder::TokensFirst, None);
        append_to_int8_cache(&mut recording, all, &starts, cache).expect("served");
    }
    let exact = attention(
        &mut recording,
        Heads {
            q: &q,
            k: &k,
            v: &v,
        },
        &AttentionOptions::default(),
    )
    .expect("served");
    let cached = AttentionOptions {
        mask: Mask::CausalInCache,
        lengths: Some(lengths),
        ..AttentionOptions::default()
    };
    let caches = [&caches[0], &caches[1]];
    recording.download(&exact.out);
    for splits in [1, 3] {
        let made = attention_over_int8(&mut recording, &q, caches, splits, &cached);
        recording.download(&made.expect("served"));
    }
    let results = gpu(options()).run(&recording).expect("runs");
    let [exact, whole, parts] = [0, 1, 2].map(|at| results[at].to_f32().expect("f32"));
    let worst = |a: &[f32], b: &[f32]| {
        let pairs = a.iter().zip(b);
        pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    };
    // Values below 1 are off by 1/254 at most, scores of 16 products by 16 times that over 4, twice.
    assert!(worst(&exact, &whole) < 1.0 / 254.0 + 2.0 * 16.0 / 254.0 / 4.0);
    assert!(worst(&exact, &whole) > 0.0);
    assert!(worst(&whole, &parts) < 1e-6);
    prove(&recording);
}

#[test]
fn shapes_that_do_not_go_together_are_refused_and_nothing_is_recorded() {
    let mut recording = Recording::new();
    let tensor = |recording: &mut Recording, shape: &[usize]| recording.tensor(DType::F32, shape);
    let q = tensor(&mut recording, &[2, 5, 4, 8]);
    let k = tensor(&mut recording, &[2, 7, 2, 8]);
    let narrow = tensor(&mut recording, &[2, 7, 2, 4]);
    let flat = tensor(&mut recording, &[2, 7, 16]);
    let three = tensor(&mut recording, &[2, 7, 3, 8]);
    let options = AttentionOptions::default();
    for (k, v, what) in [
        (&narrow, &narrow, "k"),
        (&k, &narrow, "v"),
        (&flat, &flat, "k"),
    ] {
        let refused = attention(&mut recording, Heads { q: &q, k, v }, &options);
        assert!(
            matches!(&refused, Err(OpError::Shape { what: named, .. }) if *named == what),
            "{refused:?}"
        );
    }
    let uneven = Heads {
        q: &q,
        k: &three,
        v: &three,
    };
    let refused = attention(&mut recording, uneven, &options);
    assert!(matches!(refused, Err(OpError::Kernel(_))), "{refused:?}");
    let lengths = AttentionOptions {
        lengths: Some(tensor(&mut recording, &[2])),
        ..options.clone()
    };
    let heads = Heads {
        q: &q,
        k: &k,
        v: &k,
    };
    let refused = attention(&mut recording, heads, &lengths);
    assert!(matches!(
        refused,
        Err(OpError::Type {
            what: "lengths",
            ..
        })
    ));
    let refused = attention_fused(&mut recording, &k, 1, &options);
    assert!(matches!(refused, Err(OpError::Shape { what: "qkv", .. })));
    let refused = attention_in_parts(&mut recording, heads, 0, &options);
    assert!(matches!(refused, Err(OpError::Kernel(_))), "{refused:?}");
    assert!(recording.commands().is_empty());
}
