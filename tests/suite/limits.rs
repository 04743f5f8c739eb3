//! Every kernel on devices that were asked for less: grids that fold, operands that are split.

use std::collections::BTreeMap;
use std::sync::Arc;

use lapidary::engine::gpu::GpuOptions;
use lapidary::engine::{Engine, EngineError};
use lapidary::kernels::{Case, Judge, REGISTRY};
use lapidary::num::{Scheme, quantize};
use lapidary::ops::{ActivationPath, LinearOptions, Weight, linear};
use lapidary::record::{Access, Buffer, HostOperands, Recording, Tensor, compare};
use lapidary::tensor::{DType, HostTensor};

use crate::support::{cases, gpu, options, values};

/// Binding limit small enough to cut quick cases, large enough for one aligned run of rows.
const SMALL_BINDING: u64 = 4096;

/// A case as one recording that downloads what it writes.
fn record(case: &Case) -> Recording {
    let mut recording = Recording::new();
    let mut buffers: Vec<(u32, Buffer)> = Vec::new();
    let mut outputs = Vec::new();
    for slot in case.launch.slots() {
        let words = slot.bytes.div_ceil(4) as usize;
        let tensor = Tensor::new(DType::U32, &[words]);
        let given = case
            .operands
            .iter()
            .find(|(binding, _)| *binding == slot.binding);
        let mut content = given.map_or_else(Vec::new, |(_, words)| words.clone());
        content.resize(words, 0);
        recording
            .upload_words(tensor.buffer(), content)
            .expect("fits");
        buffers.push((slot.binding, tensor.buffer().clone()));
        if slot.access != Access::Read {
            outputs.push(tensor);
        }
    }
    let bound: Vec<(u32, &Buffer)> = buffers
        .iter()
        .map(|(binding, buffer)| (*binding, buffer))
        .collect();
    recording
        .dispatch(Arc::clone(&case.launch), &bound)
        .expect("bindings fit");
    outputs.iter().for_each(|tensor| recording.download(tensor));
    recording
}

#[test]
fn every_kernel_gives_equal_bits_with_folded_grids() {
    let folding = gpu(GpuOptions {
        max_workgroups: Some(150),
        ..options()
    });
    let flat = gpu(options());
    let mut done: BTreeMap<&str, usize> = BTreeMap::new();
    for (kernel, case) in cases() {
        let count = done.entry(kernel.name).or_default();
        *count += 1;
        if *count > 3 {
            continue;
        }
        let recording = record(&case);
        let folded = folding
            .run(&recording)
            .unwrap_or_else(|error| panic!("{}: {error}", case.name));
        assert_eq!(
            flat.run(&recording).expect("flat"),
            folded,
            "{} {}",
            kernel.name,
            case.name
        );
    }
}

/// Kernels whose results are never exact: split, they are judged by their bounds.
const ROUNDED: [&str; 13] = [
    "softmax",
    "row_loss",
    "norm",
    "norm_backward",
    "norm_quantize",
    "norm_running",
    "attention",
    "attention_combine",
    "attention_queries_backward",
    "attention_keys_backward",
    "swiglu",
    "swiglu_quantize",
    "cache_quantize",
];

#[test]
fn kernels_that_round_stay_within_their_bounds_when_their_operands_are_split() {
    let small = gpu(GpuOptions {
        max_binding_bytes: Some(SMALL_BINDING),
        ..options()
    });
    for name in ROUNDED {
        let mut split = 0;
        for (_, case) in cases().iter().filter(|(kernel, _)| kernel.name == name) {
            let slots = case.launch.slots();
            let large = slots.iter().any(|slot| slot.bytes > SMALL_BINDING);
            if !large || split == 4 {
                continue;
            }
            let results = match small.run(&record(case)) {
                Ok(results) => results,
                Err(EngineError::BindingTooLarge { .. }) => continue,
                Err(error) => panic!("{name} {}: {error}", case.name),
            };
            let mut operands = HostOperands::default();
            for (binding, words) in &case.operands {
                operands.insert(*binding, words);
            }
            let written = slots.iter().filter(|slot| slot.access != Access::Read);
            let results: BTreeMap<u32, Vec<u32>> = written
                .zip(&results)
                .map(|(slot, result)| (slot.binding, result.words()))
                .collect();
            let bounds = case.launch.bound(&operands);
            for (output, bound) in case.launch.reference(&operands).iter().zip(&bounds) {
                let comparison = compare(output, bound, &results[&output.binding]);
                assert!(comparison.passed(), "{name} {}: {comparison:?}", case.name);
            }
            split += 1;
        }
        assert!(split > 0, "no case of {name} could be split");
    }
}

#[test]
fn every_kernel_gives_equal_bits_when_its_operands_are_split() {
    let small = gpu(GpuOptions {
        max_binding_bytes: Some(SMALL_BINDING),
        ..options()
    });
    let whole = gpu(options());
    let mut split: BTreeMap<&str, usize> = BTreeMap::new();
    for (kernel, case) in cases() {
        let large = case
            .launch
            .slots()
            .iter()
            .any(|slot| slot.bytes > SMALL_BINDING);
        let count = split.entry(kernel.name).or_default();
        // Parts may get another variant than the whole, so only data that is exact in any order.
        if !large || case.judge != Judge::Bitwise || *count >= 4 {
            continue;
        }
        let recording = record(&case);
        match small.run(&recording) {
            Ok(parts) => {
                assert_eq!(
                    whole.run(&recording).expect("whole"),
                    parts,
                    "{} {}",
                    kernel.name,
                    case.name
                );
                *count += 1;
            }
            Err(EngineError::BindingTooLarge { .. }) => {}
            Err(error) => panic!("{} {}: {error}", kernel.name, case.name),
        }
    }
    // Its quick cases are too small; the test below has a large one.
    split.insert("matvec_quant", 1);
    // Not exact; the test above has them.
    split.extend(ROUNDED.map(|name| (name, 1)));
    // 256 bytes of logarithms, to which parts are aligned, go with twice this limit of results; a unit test cuts it.
    split.insert("combine_quantize", 1);
    // Its only operand is 260 words.
    split.insert("mask_pick", 1);
    // One workgroup looks at the statistics of a whole model, 16 bytes for 512 elements.
    split.insert("loss_scale", 1);
    // A probe is sized to the limits by whoever asks; cut, it would measure something else.
    split.insert("roofline", 1);
    let never: Vec<&str> = REGISTRY
        .iter()
        .map(|kernel| kernel.name)
        .filter(|name| split.get(name).copied().unwrap_or(0) == 0)
        .collect();
    assert!(never.is_empty(), "no case of {never:?} could be split");
}

#[test]
fn a_layer_on_few_rows_gives_equal_bits_when_its_weight_is_split() {
    let small = gpu(GpuOptions {
        max_binding_bytes: Some(100 << 10),
        ..options()
    });
    let matrix = quantize(
        "w",
        &values(1, 1500 * 512),
        1500,
        512,
        &Scheme::int4_group(32),
    )
    .expect("finite");
    assert!(
        matrix.codes().len() * 4 > 3 * (100 << 10),
        "the weight must not fit one binding"
    );
    for activations in [ActivationPath::Float, ActivationPath::Int8PerRow] {
        let mut recording = Recording::new();
        let x = HostTensor::from_f32(vec![3, 512], &values(2, 3 * 512)).expect("shape fits");
        let x = recording.upload(&x);
        let weight = Weight::upload_quantized(&mut recording, &matrix);
        let y = linear(
            &mut recording,
            &x,
            &weight,
            &LinearOptions {
                activations,
                ..LinearOptions::default()
            },
        );
        recording.download(&y.expect("served"));
        assert_eq!(
            small.run(&recording).expect("split"),
            gpu(options()).run(&recording).expect("whole")
        );
        assert!(
            small.counters().bind_groups > 2,
            "more parts than dispatches"
        );
    }
}
