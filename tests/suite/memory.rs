//! Device memory: budgets, reuse, and commands whose order matters.

use lapidary::engine::gpu::GpuOptions;
use lapidary::engine::{Engine, EngineError, GpuEngine};
use lapidary::num::Scheme;
use lapidary::record::{Recording, Tensor};
use lapidary::tensor::{DType, HostTensor};

use crate::support::{Product, gpu, options};

#[test]
fn memory_over_the_budget_is_refused_before_it_is_allocated() {
    let engine = gpu(GpuOptions {
        memory_budget: Some(1 << 20),
        ..options()
    });
    let large = HostTensor::from_f32(vec![1 << 19], &vec![0.0; 1 << 19]).expect("shape fits");
    let error = engine.upload(&large).expect_err("2 MiB do not fit 1 MiB");
    assert!(
        matches!(
            error,
            EngineError::OutOfMemory {
                needed: 2_097_152,
                in_use: 0,
                budget: 1_048_576,
                ..
            }
        ),
        "{error}"
    );
    let small = HostTensor::from_f32(vec![4], &[1.0, 2.0, 3.0, 4.0]).expect("shape fits");
    let tensor = engine.upload(&small).expect("the engine stays usable");
    assert_eq!(engine.download(&tensor).expect("downloads"), small);
}

#[test]
fn a_buffer_over_the_device_limit_is_refused() {
    let engine = gpu(GpuOptions {
        max_buffer_bytes: Some(64 << 10),
        max_binding_bytes: Some(64 << 10),
        ..options()
    });
    let large = HostTensor::from_f32(vec![1 << 15], &vec![0.0; 1 << 15]).expect("shape fits");
    let error = engine.upload(&large).expect_err("128 KiB are over 64 KiB");
    assert!(
        matches!(
            error,
            EngineError::BufferTooLarge {
                bytes: 131_072,
                limit: 65_536,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn memory_of_dropped_tensors_is_reused() {
    let engine = gpu(options());
    let host = HostTensor::from_f32(vec![1024], &[1.0; 1024]).expect("shape fits");
    drop(engine.upload(&host).expect("uploads"));
    let before = engine.counters();
    for _ in 0..20 {
        drop(engine.upload(&host).expect("uploads"));
    }
    assert_eq!(engine.counters().buffers, before.buffers);
    engine.release_unused();
    assert_eq!(engine.counters().allocated_bytes, 0);
}

#[test]
fn an_upload_after_a_use_does_not_change_the_use() {
    // The same buffer is filled, multiplied, filled again and multiplied again in one recording.
    let product = Product::new(2, 16, 64, Scheme::int8_channel());
    let doubled: Vec<f32> = product
        .x
        .to_f32()
        .expect("floats")
        .iter()
        .map(|value| 2.0 * value)
        .collect();
    let second = HostTensor::from_f32(vec![2, 64], &doubled).expect("shape fits");
    let mut recording = Recording::new();
    let x = recording.upload(&product.x);
    let first_out = product.record(&mut recording, &x);
    recording
        .upload_words(x.buffer(), second.words())
        .expect("fits");
    let second_out = product.record(&mut recording, &x);
    recording.download(&first_out);
    recording.download(&second_out);
    let results = gpu(options()).run(&recording).expect("runs");
    let (first, second) = (
        results[0].to_f32().expect("floats"),
        results[1].to_f32().expect("floats"),
    );
    let twice: Vec<f32> = first.iter().map(|value| 2.0 * value).collect();
    assert_eq!(twice, second, "doubling is exact");
}

#[test]
fn an_upload_into_freed_memory_does_not_change_an_earlier_use() {
    let product = Product::new(2, 16, 64, Scheme::int8_channel());
    let expected = gpu(options()).run(&product.recording()).expect("runs");
    let mut recording = Recording::new();
    let x = recording.upload(&product.x);
    let out = product.record(&mut recording, &x);
    recording.free(x.buffer());
    let other = Tensor::new(DType::F32, &[2, 64]);
    recording
        .upload_words(other.buffer(), vec![f32::NAN.to_bits(); 128])
        .expect("fits");
    recording.download(&out);
    assert_eq!(gpu(options()).run(&recording).expect("runs"), expected);
}

#[test]
fn a_download_sees_what_was_there_before_a_later_upload() {
    let mut recording = Recording::new();
    let x = recording.upload(&HostTensor::from_f32(vec![1], &[1.0]).expect("shape fits"));
    recording.download(&x);
    recording
        .upload_words(x.buffer(), vec![2.0_f32.to_bits()])
        .expect("fits");
    recording.download(&x);
    let results = gpu(options()).run(&recording).expect("runs");
    let values: Vec<f32> = results
        .iter()
        .flat_map(|host| host.to_f32().expect("floats"))
        .collect();
    assert_eq!(values, [1.0, 2.0]);
}

#[test]
fn freeing_a_plans_buffer_elsewhere_does_not_change_the_plan_nor_the_other_way_round() {
    let engine = gpu(options());
    let product = Product::new(2, 16, 64, Scheme::int8_channel());
    let mut recording = Recording::new();
    let x = recording.input(DType::F32, &[2, 64]);
    let out = product.record(&mut recording, &x);
    recording.download(&out);
    let plan = engine.prepare(&recording).expect("prepares");
    let before = plan.run(std::slice::from_ref(&product.x)).expect("replays");
    let mut free = Recording::new();
    free.free(x.buffer());
    for dispatch in recording.dispatches() {
        dispatch
            .bindings
            .iter()
            .for_each(|binding| free.free(&binding.buffer));
    }
    engine.run(&free).expect("frees");
    // Tensors of the same sizes would take over the freed memory.
    let sizes: Vec<u64> = recording
        .dispatches()
        .flat_map(|one| one.bindings.iter().map(|binding| binding.buffer.bytes()))
        .collect();
    let others: Vec<(Tensor, HostTensor)> = sizes
        .into_iter()
        .map(|bytes| {
            let words = vec![7; (bytes / 4) as usize];
            let host = HostTensor::from_words_u32(vec![words.len()], &words).expect("shape fits");
            (engine.upload(&host).expect("uploads"), host)
        })
        .collect();
    assert_eq!(
        plan.run(std::slice::from_ref(&product.x)).expect("replays"),
        before
    );
    for (tensor, host) in &others {
        assert_eq!(engine.download(tensor).expect("downloads"), *host);
    }
}

#[test]
fn plans_that_share_an_input_do_not_mix_on_two_threads() {
    let engine = gpu(options());
    let product = Product::new(1, 16, 64, Scheme::int8_channel());
    let mut recording = Recording::new();
    let x = recording.input(DType::F32, &[1, 64]);
    let out = product.record(&mut recording, &x);
    recording.download(&out);
    let plans = [
        engine.prepare(&recording).expect("prepares"),
        engine.prepare(&recording).expect("prepares"),
    ];
    std::thread::scope(|scope| {
        for (index, plan) in plans.iter().enumerate() {
            scope.spawn(move || {
                let x = HostTensor::from_f32(vec![1, 64], &[1.0 + index as f32; 64])
                    .expect("shape fits");
                let first = plan.run(std::slice::from_ref(&x)).expect("replays");
                for _ in 0..300 {
                    assert_eq!(plan.run(std::slice::from_ref(&x)).expect("replays"), first);
                }
            });
        }
    });
}

#[test]
fn what_nobody_wrote_is_no_download() {
    let engine = gpu(options());
    let tensor = Tensor::new(DType::F32, &[4]);
    let mut recording = Recording::new();
    recording.download(&tensor);
    assert!(matches!(
        engine.run(&recording),
        Err(EngineError::Uninitialized { .. })
    ));
    assert!(matches!(
        engine.prepare(&recording).err(),
        Some(EngineError::Uninitialized { .. })
    ));
    // A run that fails leaves nothing behind that looks written.
    let product = Product::new(2, 16, 64, Scheme::int8_channel());
    let mut failing = Recording::new();
    let x = failing.upload(&product.x);
    let out = product.record(&mut failing, &x);
    failing.download(&tensor);
    assert!(engine.run(&failing).is_err());
    assert!(matches!(
        engine.download(&out),
        Err(EngineError::Uninitialized { .. })
    ));
}

#[test]
fn a_failed_prepare_gives_its_memory_back() {
    let engine = gpu(GpuOptions {
        memory_budget: Some(1 << 20),
        ..options()
    });
    let missing = Tensor::new(DType::F32, &[4]);
    for _ in 0..20 {
        let product = Product::new(64, 512, 64, Scheme::int8_channel());
        let mut recording = Recording::new();
        let x = recording.upload(&product.x);
        let out = product.record(&mut recording, &x);
        recording.download(&out);
        recording.download(&missing);
        assert!(engine.prepare(&recording).is_err());
    }
    let host = HostTensor::from_f32(vec![1 << 16], &vec![0.0; 1 << 16]).expect("shape fits");
    engine.upload(&host).expect("256 KiB fit");
}

#[test]
fn uploads_and_options_out_of_range_are_refused() {
    let mut recording = Recording::new();
    let tensor = Tensor::new(DType::F32, &[4]);
    let error = recording
        .upload_words(tensor.buffer(), vec![0; 5])
        .expect_err("five words in four");
    assert_eq!(error.to_string(), "upload of 20 bytes into a buffer of 16");
    let error = GpuEngine::open(GpuOptions {
        max_workgroups: Some(0),
        ..options()
    })
    .expect_err("no workgroups");
    assert_eq!(
        error.to_string(),
        "engine option max_workgroups = 0; allowed: at least 1"
    );
    let huge = Tensor::new(DType::F32, &[usize::MAX, usize::MAX]);
    recording.download(&huge);
    assert!(gpu(options()).run(&recording).is_err());
}
