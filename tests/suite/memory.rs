//! Device memory: budgets, reuse, and commands whose order matters.

use lapidary::engine::gpu::GpuOptions;
use lapidary::engine::{Engine, EngineError};
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
    recording.upload_words(x.buffer(), second.words());
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
    recording.upload_words(other.buffer(), vec![f32::NAN.to_bits(); 128]);
    recording.download(&out);
    assert_eq!(gpu(options()).run(&recording).expect("runs"), expected);
}
