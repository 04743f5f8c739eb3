//! Pruning masks: every pattern gives the same words on the adapter, on the CPU engine and by definition.

use lapidary::engine::{CpuEngine, Engine, EngineError};
use lapidary::num::Philox;
use lapidary::num::mask::{Amount, Mask, Pattern, Scores, Units, global, select};
use lapidary::ops::OpError;
use lapidary::ops::mask::{self, MaskTensor};
use lapidary::record::{Recording, Tensor};
use lapidary::tensor::{DType, HostTensor};
use lapidary::verify::compare_recording;

use crate::support::{gpu, options, values};

/// Random, tied, structured and hardly a number: what scores may look like.
fn score_kinds(n: usize, k: usize) -> Vec<(&'static str, Vec<f32>)> {
    let mut random = Philox::new(5).stream(0);
    let mut draw = |of: &dyn Fn(u32) -> f32| (0..n * k).map(|_| of(random.next_u32())).collect();
    vec![
        ("random", values(1, n * k)),
        ("tied", draw(&|bits| (bits % 3) as f32)),
        ("equal", vec![1.5; n * k]),
        (
            "rows alike",
            (0..n * k).map(|at| (at % k % 7) as f32).collect(),
        ),
        (
            "columns alike",
            (0..n * k).map(|at| -((at / k % 5) as f32)).collect(),
        ),
        (
            "subnormal",
            draw(&|bits| f32::from_bits(bits & 0x80ff_ffff)),
        ),
        ("rounded", draw(&|bits| (bits >> 8) as f32 * 1.1e-7 - 0.3)),
    ]
}

fn patterns(n: usize, k: usize) -> Vec<Pattern> {
    let block = |rows, columns| Units { rows, columns };
    let mut patterns = vec![
        Pattern::Tensor(Amount::Sparsity(0.37)),
        Pattern::Tensor(Amount::Keep(0)),
        Pattern::Tensor(Amount::Keep(n * k)),
        Pattern::Tensor(Amount::Keep(1)),
        Pattern::PerRow(Amount::Sparsity(0.5)),
        Pattern::PerRow(Amount::Keep(0)),
        Pattern::PerRow(Amount::Keep(k)),
        Pattern::Blocks(block(4, 32), Amount::Sparsity(0.5)),
        Pattern::Blocks(block(16, 3), Amount::Sparsity(0.9)),
        Pattern::Rows(Amount::Sparsity(0.5)),
        Pattern::Columns(Amount::Sparsity(0.25)),
    ];
    for vector in [1, 8, 16, 32] {
        for (keep, group) in [(2, 4), (4, 8), (1, 2), (1, 3), (5, 12)] {
            if k.is_multiple_of(group) {
                patterns.push(Pattern::NOfM {
                    keep,
                    group,
                    vector,
                });
            }
        }
    }
    patterns
}

fn upload(recording: &mut Recording, n: usize, k: usize, values: &[f32]) -> Tensor {
    recording.upload(&HostTensor::from_f32(vec![n, k], values).expect("shape fits"))
}

#[test]
fn every_pattern_gives_the_words_of_its_definition_on_both_engines() {
    let engine = gpu(options());
    for (n, k) in [(1, 1), (5, 24), (37, 70), (130, 96), (67, 1200)] {
        for (kind, scores) in score_kinds(n, k) {
            let mut recording = Recording::new();
            let uploaded = upload(&mut recording, n, k, &scores);
            let patterns = patterns(n, k);
            let mut masks = Vec::new();
            for pattern in &patterns {
                let mask = mask::select(&mut recording, &uploaded, pattern)
                    .unwrap_or_else(|error| panic!("{pattern:?}: {error}"));
                recording.download(mask.words());
                masks.push(mask);
            }
            let words = engine.run(&recording).expect("runs");
            assert_eq!(words, CpuEngine::new().run(&recording).expect("runs"));
            let scores = Scores::new("w", n, k, &scores).expect("no NaN");
            for ((pattern, mask), words) in patterns.iter().zip(&masks).zip(&words) {
                assert_eq!(
                    mask.to_mask(words).expect("padding is zero"),
                    select(&scores, pattern).expect("fits"),
                    "{n} x {k}, {kind}, {pattern:?}"
                );
            }
        }
    }
}

#[test]
fn a_tensor_too_large_for_one_workgroup_is_counted_by_many() {
    let engine = gpu(options());
    let (n, k) = (700, 333);
    for (kind, scores) in score_kinds(n, k) {
        for keep in [0, 1, n * k / 3, n * k] {
            let pattern = Pattern::Tensor(Amount::Keep(keep));
            let mut recording = Recording::new();
            let uploaded = upload(&mut recording, n, k, &scores);
            let mask = mask::select(&mut recording, &uploaded, &pattern).expect("fits");
            recording.download(mask.words());
            // A fill, four bytes of the key and three of the index, the mask.
            assert_eq!(recording.dispatches().count(), 1 + 2 * (4 + 3) + 1);
            let words = engine.run(&recording).expect("runs");
            let got = mask.to_mask(&words[0]).expect("padding is zero");
            assert_eq!(got.kept(), keep);
            let scores = Scores::new("w", n, k, &scores).expect("no NaN");
            assert_eq!(
                got,
                select(&scores, &pattern).expect("fits"),
                "{kind}, keep {keep}"
            );
        }
    }
}

#[test]
fn a_row_as_long_as_the_driver_s_loop_limit_allows_is_right_and_a_longer_one_is_refused() {
    let engine = gpu(options());
    let pattern = Pattern::PerRow(Amount::Sparsity(0.5));
    // Seven bytes, each of 9351 rounds and 11 iterations beside them, stay below 65,535.
    let longest = 9351 * 256;
    let scores: Vec<f32> = values(1, longest)
        .into_iter()
        .map(|value| (value * 1000.0).round())
        .collect();
    let mut recording = Recording::new();
    let uploaded = upload(&mut recording, 1, longest, &scores);
    let mask = mask::select(&mut recording, &uploaded, &pattern).expect("fits");
    recording.download(mask.words());
    let words = engine.run(&recording).expect("runs");
    let scores = Scores::new("w", 1, longest, &scores).expect("no NaN");
    assert_eq!(
        mask.to_mask(&words[0]).expect("padding is zero"),
        select(&scores, &pattern).expect("fits")
    );

    let mut recording = Recording::new();
    let longer = upload(&mut recording, 1, longest + 1, &vec![1.0; longest + 1]);
    mask::select(&mut recording, &longer, &pattern).expect("fits");
    let error = engine.run(&recording).expect_err("one round more");
    assert!(
        matches!(error, EngineError::LoopTooLong { limit: 65_535, .. }),
        "{error}"
    );
}

#[test]
fn a_plan_selects_anew_at_every_replay() {
    let engine = gpu(options());
    let (n, k) = (300, 300);
    let pattern = Pattern::Tensor(Amount::Sparsity(0.5));
    let mut recording = Recording::new();
    let scores = recording.input(DType::F32, &[n, k]);
    let mask = mask::select(&mut recording, &scores, &pattern).expect("fits");
    recording.download(mask.words());
    let plan = engine.prepare(&recording).expect("prepares");
    for seed in 0..3 {
        let scores = values(seed, n * k);
        let input = HostTensor::from_f32(vec![n, k], &scores).expect("shape fits");
        let words = plan.run(&[input]).expect("replays");
        let scores = Scores::new("w", n, k, &scores).expect("no NaN");
        assert_eq!(
            mask.to_mask(&words[0]).expect("padding is zero"),
            select(&scores, &pattern).expect("fits")
        );
    }
}

#[test]
fn matrices_are_pruned_together_on_both_engines() {
    let engine = gpu(options());
    let shapes = [(40, 70), (300, 256), (3, 5)];
    for units in [
        Units::ELEMENTS,
        Units {
            rows: 4,
            columns: 16,
        },
    ] {
        for kind in 0..7 {
            let scores: Vec<Vec<f32>> = shapes
                .iter()
                .map(|&(n, k)| score_kinds(n, k).swap_remove(kind).1)
                .collect();
            let amount = Amount::Sparsity(0.6);
            let mut recording = Recording::new();
            let uploaded: Vec<Tensor> = shapes
                .iter()
                .zip(&scores)
                .map(|(&(n, k), scores)| upload(&mut recording, n, k, scores))
                .collect();
            let of: Vec<&Tensor> = uploaded.iter().collect();
            let masks = mask::select_global(&mut recording, &of, units, amount).expect("fits");
            masks
                .iter()
                .for_each(|mask| recording.download(mask.words()));
            let words = engine.run(&recording).expect("runs");
            assert_eq!(words, CpuEngine::new().run(&recording).expect("runs"));
            let by_definition: Vec<Scores<'_>> = shapes
                .iter()
                .zip(&scores)
                .map(|(&(n, k), scores)| Scores::new("w", n, k, scores).expect("no NaN"))
                .collect();
            let expected = global(&by_definition, units, amount).expect("fits");
            for ((mask, words), expected) in masks.iter().zip(&words).zip(expected) {
                assert_eq!(mask.to_mask(words).expect("padding is zero"), expected);
            }
        }
    }
}

/// What torch.nn.utils.prune.l1_unstructured keeps of weights without ties: all but the `round(amount *
/// numel)` smallest magnitudes.
fn l1_unstructured(weights: &[f32], amount: f64) -> Vec<bool> {
    let mut order: Vec<usize> = (0..weights.len()).collect();
    order.sort_by(|&a, &b| weights[a].abs().total_cmp(&weights[b].abs()));
    let dropped = (amount * weights.len() as f64).round_ties_even() as usize;
    let mut kept = vec![true; weights.len()];
    order[..dropped].iter().for_each(|&at| kept[at] = false);
    kept
}

#[test]
fn magnitude_masks_are_those_of_torch_and_pruned_places_are_zero() {
    let engine = gpu(options());
    let (n, k) = (41, 125);
    // A permutation of distinct sizes with either sign, exact in every float type.
    let weights: Vec<f32> = (0..n * k)
        .map(|at| {
            let place = (at * 1663) % (n * k);
            let size = f32::from_bits((0x3c00 + place as u32 % 0x600) << 16);
            if at % 2 == 0 { size } else { -size }
        })
        .collect();
    let distinct: Vec<f32> = (0..n * k)
        .map(|at| {
            ((at * 1663) % (n * k)) as f32 - (n * k) as f32 * if at % 2 == 0 { 0.0 } else { 1.0 }
        })
        .map(|value| value + 0.25)
        .collect();
    for (weights, dtype, ties) in [
        (&distinct, DType::F32, false),
        (&weights, DType::F32, true),
        (&weights, DType::BF16, true),
        (&weights, DType::F16, true),
    ] {
        let mut recording = Recording::new();
        let host = HostTensor::from_f32_as(dtype, vec![n, k], weights).expect("shape fits");
        let w = recording.upload(&host);
        let scores = mask::magnitude(&mut recording, &w).expect("float");
        let pattern = Pattern::Tensor(Amount::Sparsity(0.3));
        let mask = mask::select(&mut recording, &scores, &pattern).expect("fits");
        let pruned = mask::apply(&mut recording, &w, &mask).expect("one shape");
        recording.download(mask.words());
        recording.download(&pruned);
        for report in compare_recording(&engine, &recording).expect("runs") {
            assert!(report.comparison.passed(), "{report:?}");
        }
        let results = engine.run(&recording).expect("runs");
        let got = mask.to_mask(&results[0]).expect("padding is zero");
        let stored = host.to_f32().expect("floats");
        if !ties {
            let torch = l1_unstructured(&stored, 0.3);
            assert!((0..n * k).all(|at| got.keeps(at / k, at % k) == torch[at]));
        }
        assert_eq!(got.kept(), n * k - (0.3 * (n * k) as f64).round() as usize);
        let expected = got.apply("w", &stored).expect("one shape");
        let pruned = results[1].to_f32().expect("floats");
        let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&pruned), bits(&expected), "{dtype}");
    }
}

#[test]
fn an_uploaded_mask_is_applied_like_one_that_was_selected() {
    let (n, k) = (9, 45);
    let weights = values(3, n * k);
    let mask = Mask::from_fn(n, k, |row, column| (row * 3 + column) % 5 != 0);
    let mut recording = Recording::new();
    let w = upload(&mut recording, n, k, &weights);
    let uploaded = MaskTensor::upload(&mut recording, &mask).expect("fits");
    let pruned = mask::apply(&mut recording, &w, &uploaded).expect("one shape");
    recording.download(&pruned);
    let results = gpu(options()).run(&recording).expect("runs");
    assert_eq!(
        results[0].to_f32().expect("floats"),
        mask.apply("w", &weights).expect("one shape")
    );
}

#[test]
fn refusals_name_the_operand_and_what_is_allowed() {
    let mut recording = Recording::new();
    let scores = upload(&mut recording, 3, 10, &values(1, 30));
    let pattern = Pattern::NOfM {
        keep: 2,
        group: 4,
        vector: 1,
    };
    let error = mask::select(&mut recording, &scores, &pattern).expect_err("10 % 4");
    assert_eq!(
        error.to_string(),
        "scores: 2 of each 4 along k = 10; allowed: at most 4 kept, groups of 1 to 256 that divide k"
    );
    let half = HostTensor::from_f32_as(DType::F16, vec![3, 10], &values(1, 30)).expect("fits");
    let half = recording.upload(&half);
    let all = Pattern::Tensor(Amount::Keep(1));
    let error = mask::select(&mut recording, &half, &all).expect_err("f16 scores");
    assert_eq!(
        error.to_string(),
        "mask select: scores is f16, expected f32"
    );
    let flat = recording.upload(&HostTensor::from_f32(vec![30], &values(1, 30)).expect("fits"));
    let error = mask::select(&mut recording, &flat, &all).expect_err("no matrix");
    assert!(matches!(error, OpError::Shape { what: "scores", .. }));
    let error = mask::select_global(&mut recording, &[], Units::ELEMENTS, Amount::Keep(0))
        .expect_err("no matrices");
    assert!(matches!(error, OpError::Mask(_)), "{error}");
    let mask = Mask::from_fn(3, 9, |_, _| true);
    let mask = MaskTensor::upload(&mut recording, &mask).expect("fits");
    let error = mask::apply(&mut recording, &scores, &mask).expect_err("9 columns");
    assert_eq!(
        error.to_string(),
        "mask apply: w has shape [3, 10], expected [3, 9]"
    );
    assert_eq!(recording.dispatches().count(), 0, "nothing was recorded");
}
