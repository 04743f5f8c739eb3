//! The engines: one recording on both, small limits, replay without allocation, loss, bad recordings.

use std::sync::Arc;
use std::time::Instant;

use lapidary::engine::{CpuEngine, Engine, EngineError};
use lapidary::num::Scheme;
use lapidary::record::{Buffer, HostOperands, RecordError, Recording};
use lapidary::tensor::{DType, HostTensor};

use crate::support::{Product, gpu, largest_difference, launch, options};

/// The bound of the whole output, for comparing two engines: twice the largest element's bound.
fn allowed(product: &Product) -> f32 {
    let (x, scales) = (product.x.words(), product.weight.packed_scales());
    let zeros = product.weight.packed_zeros();
    let mut operands = HostOperands::default();
    operands.insert(1, &x);
    operands.insert(2, product.weight.codes());
    operands.insert(3, &scales);
    if let Some(zeros) = &zeros {
        operands.insert(4, zeros);
    }
    match &product.launch.bound(&operands)[0] {
        lapidary::record::Bound::Absolute(bounds) => {
            2.0 * bounds.iter().copied().fold(0.0, f64::max) as f32
        }
        other => panic!("expected absolute bounds, got {other:?}"),
    }
}

#[test]
fn both_engines_run_the_same_recording() {
    let product = Product::new(9, 70, 256, Scheme::int4_group_zero_point(64));
    let recording = product.recording();
    let on_gpu = gpu(options()).run(&recording).expect("gpu");
    let on_cpu = CpuEngine::new().run(&recording).expect("cpu");
    assert!(largest_difference(&on_gpu[0], &on_cpu[0]) <= allowed(&product));
}

#[test]
fn uploads_come_back_unchanged() {
    let host =
        HostTensor::from_i8(vec![3, 7], &(-10..11).collect::<Vec<i8>>()).expect("shape fits");
    for engine in [
        Box::new(gpu(options())) as Box<dyn Engine>,
        Box::new(CpuEngine::new()),
    ] {
        let tensor = engine.upload(&host).expect("uploads");
        assert_eq!(engine.download(&tensor).expect("downloads"), host);
    }
}

#[test]
fn a_weight_over_the_binding_limit_is_split_and_gives_equal_bits() {
    let product = Product::new(5, 1500, 512, Scheme::int4_group(32));
    let recording = product.recording();
    let whole = gpu(options()).run(&recording).expect("fits at once");
    let small = gpu(lapidary::engine::gpu::GpuOptions {
        max_binding_bytes: Some(100 << 10),
        ..options()
    });
    assert_eq!(small.capabilities().max_binding_bytes, 100 << 10);
    assert!(
        product.weight.codes().len() * 4 > 3 * (100 << 10),
        "the weight must not fit one binding"
    );
    let split = small.run(&recording).expect("split by rows");
    assert_eq!(whole, split);
    assert!(small.counters().bind_groups > 1);
}

#[test]
fn a_product_that_cannot_be_cut_small_enough_is_refused_and_the_engine_goes_on() {
    let small = gpu(lapidary::engine::gpu::GpuOptions {
        max_binding_bytes: Some(16 << 10),
        ..options()
    });
    let wide = Product::new(1, 300, 8192, Scheme::int8_channel());
    let error = small
        .run(&wide.recording())
        .expect_err("one aligned run of rows is over the limit");
    assert!(
        matches!(
            error,
            EngineError::BindingTooLarge {
                kernel: "matmul_quant",
                limit: 16384,
                ..
            }
        ),
        "{error}"
    );
    let fine = Product::new(2, 16, 64, Scheme::int4_group(64));
    small
        .run(&fine.recording())
        .expect("the engine stays usable");
}

#[test]
fn a_grid_over_the_dimension_limit_folds_and_gives_equal_bits() {
    let product = Product::new(40, 300, 64, Scheme::int8_channel());
    let recording = product.recording();
    let flat = gpu(options()).run(&recording).expect("one dimension");
    let folding = gpu(lapidary::engine::gpu::GpuOptions {
        max_workgroups: Some(13),
        ..options()
    });
    assert_eq!(folding.capabilities().max_workgroups, 13);
    assert_eq!(flat, folding.run(&recording).expect("two dimensions"));
    let too_few = gpu(lapidary::engine::gpu::GpuOptions {
        max_workgroups: Some(2),
        ..options()
    });
    let error = too_few
        .run(&recording)
        .expect_err("four workgroups cannot do it");
    assert!(
        matches!(error, EngineError::GridTooLarge { limit: 2, .. }),
        "{error}"
    );
}

#[test]
fn replaying_a_plan_allocates_and_compiles_nothing() {
    let engine = gpu(options());
    let (plan, product, steps) = chain(&engine);
    let input = product.x.clone();
    let first = plan.run(std::slice::from_ref(&input)).expect("replays");
    let before = engine.counters();
    for _ in 0..10 {
        assert_eq!(
            plan.run(std::slice::from_ref(&input)).expect("replays"),
            first
        );
    }
    let after = engine.counters();
    assert_eq!(after.submits - before.submits, 10, "one submit a replay");
    assert_eq!(
        lapidary::engine::gpu::Counters {
            submits: before.submits,
            ..after
        },
        before
    );
    // A chain needs two buffers in turn, whatever its length.
    let one = 4 * product.m as u64 * product.n as u64;
    assert!(
        steps > 4 && plan.intermediate_bytes() <= 3 * one,
        "{} bytes",
        plan.intermediate_bytes()
    );
}

#[test]
fn a_plan_and_a_run_give_equal_bits_on_new_inputs() {
    let engine = gpu(options());
    let (plan, product, _) = chain(&engine);
    let (cpu_plan, _, _) = chain(&CpuEngine::new());
    for seed in 0..3 {
        let values = crate::support::values(100 + seed, product.x.len());
        let x = HostTensor::from_f32(product.x.shape().to_vec(), &values).expect("shape fits");
        let on_gpu = plan.run(std::slice::from_ref(&x)).expect("gpu");
        let on_cpu = cpu_plan.run(std::slice::from_ref(&x)).expect("cpu");
        let size = on_cpu[0]
            .to_f32()
            .expect("floats")
            .iter()
            .fold(0.0_f32, |size, value| size.max(value.abs()));
        assert!(
            largest_difference(&on_gpu[0], &on_cpu[0]) <= 1e-4 * size,
            "six products of 64 terms"
        );
    }
}

/// Six products in a row with one declared input.
fn chain(engine: &dyn Engine) -> (Box<dyn lapidary::engine::Plan>, Product, usize) {
    let product = Product::new(8, 64, 64, Scheme::int8_channel());
    let mut recording = Recording::new();
    let mut x = recording.input(DType::F32, &[8, 64]);
    for _ in 0..6 {
        x = product.record(&mut recording, &x);
    }
    recording.download(&x);
    (engine.prepare(&recording).expect("prepares"), product, 6)
}

#[test]
fn a_plan_uploads_once_and_refuses_uploads_after_a_use() {
    let product = Product::new(2, 16, 64, Scheme::int8_channel());
    let mut recording = Recording::new();
    let x = recording.upload(&product.x);
    let out = product.record(&mut recording, &x);
    recording.free(x.buffer());
    recording.download(&out);
    let mut late = recording.clone();
    late.upload_words(x.buffer(), product.x.words())
        .expect("fits");
    let expected = CpuEngine::new().run(&product.recording()).expect("runs");
    for engine in [
        Box::new(gpu(options())) as Box<dyn Engine>,
        Box::new(CpuEngine::new()),
    ] {
        let plan = engine.prepare(&recording).expect("prepares");
        for _ in 0..3 {
            let results = plan.run(&[]).expect("replays");
            assert!(largest_difference(&results[0], &expected[0]) <= allowed(&product));
        }
        let error = engine.prepare(&late).err();
        assert!(
            matches!(error, Some(EngineError::PlanUpload { .. })),
            "{error:?}"
        );
    }
}

#[test]
fn a_replay_costs_little_host_time_per_dispatch() {
    // Encoding only: what the adapter then takes is not host time. The issue asks for a few
    // microseconds a dispatch; the margin is for a loaded machine.
    let engine = gpu(options());
    let product = Product::new(1, 8, 8, Scheme::int8_channel());
    let mut recording = Recording::new();
    let x = recording.input(DType::F32, &[1, 8]);
    let mut out = x.clone();
    for _ in 0..1000 {
        out = product.record(&mut recording, &out);
    }
    recording.download(&out);
    let plan = engine.prepare(&recording).expect("prepares");
    let mut best = f64::INFINITY;
    for _ in 0..5 {
        let start = Instant::now();
        plan.run(std::slice::from_ref(&product.x)).expect("replays");
        best = best.min(start.elapsed().as_secs_f64() * 1e6 / 1000.0);
    }
    assert!(
        best < 60.0,
        "{best:.1} microseconds a dispatch, execution on the CPU adapter included"
    );
}

#[test]
fn wrong_plan_inputs_are_named() {
    let engine = gpu(options());
    let (plan, _, _) = chain(&engine);
    let error = plan.run(&[]).expect_err("one input is declared");
    assert!(
        error
            .to_string()
            .contains("plan input 0: expected f32 [8, 64], got nothing"),
        "{error}"
    );
    let wrong = HostTensor::from_f32(vec![8, 63], &[0.0; 504]).expect("shape fits");
    assert!(matches!(
        plan.run(&[wrong]),
        Err(EngineError::PlanInput { index: 0, .. })
    ));
}

#[test]
fn a_lost_device_is_reported_and_a_new_engine_works() {
    let engine = gpu(options());
    let product = Product::new(4, 16, 64, Scheme::int4_group(64));
    let (plan, chained, _) = chain(&engine);
    let tensor = engine.upload(&product.x).expect("uploads");
    engine.destroy();
    assert!(matches!(
        engine.run(&product.recording()),
        Err(EngineError::DeviceLost { .. })
    ));
    assert!(matches!(
        plan.run(&[chained.x]),
        Err(EngineError::DeviceLost { .. })
    ));
    assert!(matches!(
        engine.download(&tensor),
        Err(EngineError::DeviceLost { .. })
    ));
    assert!(matches!(
        engine.prepare(&product.recording()).err(),
        Some(EngineError::DeviceLost { .. })
    ));
    gpu(options())
        .run(&product.recording())
        .expect("a new engine works");
}

#[test]
fn a_tensor_of_another_engine_is_uninitialized_here() {
    let product = Product::new(2, 16, 64, Scheme::int4_group(64));
    let foreign = gpu(options()).upload(&product.x).expect("uploads");
    let mut recording = Recording::new();
    let out = product.record(&mut recording, &foreign);
    recording.download(&out);
    for engine in [
        Box::new(gpu(options())) as Box<dyn Engine>,
        Box::new(CpuEngine::new()),
    ] {
        let error = engine
            .run(&recording)
            .expect_err("nothing was uploaded here");
        assert!(
            error.to_string().contains("matmul_quant (m=2 n=16 k=64"),
            "{error}"
        );
        assert!(matches!(
            engine.prepare(&recording).err(),
            None | Some(EngineError::Uninitialized { .. })
        ));
    }
}

#[test]
fn a_recording_refuses_missing_small_and_aliased_buffers() {
    let launch = launch(2, 16, 64, Scheme::int4_group(64).format());
    let buffers: Vec<Buffer> = launch
        .slots()
        .iter()
        .map(|slot| Buffer::new(slot.bytes))
        .collect();
    let bindings: Vec<u32> = launch.slots().iter().map(|slot| slot.binding).collect();
    let mut recording = Recording::new();
    let missing = recording.dispatch(Arc::clone(&launch), &[(1, &buffers[0])]);
    assert!(matches!(
        missing,
        Err(RecordError::MissingBinding { binding: 2, .. })
    ));
    let tiny = Buffer::new(16);
    let small: Vec<(u32, &Buffer)> = bindings.iter().map(|binding| (*binding, &tiny)).collect();
    let error = recording
        .dispatch(Arc::clone(&launch), &small)
        .expect_err("16 bytes are too few");
    assert_eq!(
        error.to_string(),
        "matmul_quant (m=2 n=16 k=64 int4-g64 scale-f16 x-f32): binding 1 `x` needs 512 bytes, the buffer has 16"
    );
    let large = Buffer::new(1 << 20);
    let aliased: Vec<(u32, &Buffer)> = bindings.iter().map(|binding| (*binding, &large)).collect();
    let error = recording
        .dispatch(launch, &aliased)
        .expect_err("the output is also an input");
    assert!(
        matches!(error, RecordError::Aliased { name: "out", .. }),
        "{error}"
    );
    assert!(recording.commands().is_empty());
}

#[test]
fn work_over_the_submit_budget_is_split_into_submits() {
    let product = Product::new(8, 64, 64, Scheme::int8_channel());
    let mut recording = Recording::new();
    let mut x = recording.upload(&product.x);
    for _ in 0..6 {
        x = product.record(&mut recording, &x);
    }
    recording.download(&x);
    let one = product.launch.cost();
    let budget = Some(2.5 * (one.operations + one.bytes));
    let bounded = gpu(lapidary::engine::gpu::GpuOptions {
        submit_budget: budget,
        ..options()
    });
    let results = bounded.run(&recording).expect("runs");
    assert_eq!(bounded.counters().submits, 3);
    assert_eq!(results, gpu(options()).run(&recording).expect("runs"));
}

#[test]
fn dispatches_are_timed_by_the_adapter() {
    let engine = gpu(options());
    let product = Product::new(32, 128, 256, Scheme::int8_channel());
    let recording = product.recording();
    engine.run(&recording).expect("runs");
    let times = engine.time_dispatches(&recording).expect("times");
    assert_eq!(times.len(), 1);
    assert!(times[0].variant.starts_with("matmul_quant"), "{times:?}");
    if engine.summary().timestamps {
        assert!(
            times[0].nanoseconds.is_some_and(|time| time > 0.0),
            "{times:?}"
        );
    }
}
