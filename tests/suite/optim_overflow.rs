//! Loss scaling as a whole: a step whose gradients overflow halves the scale and changes nothing else,
//! clipping is what it is in PyTorch, and what is pruned stays pruned.

use lapidary::engine::{CpuEngine, Engine, Plan};
use lapidary::kernels::FloatType;
use lapidary::num::mask::Mask;
use lapidary::num::optim::{Control, Convention, OPTIMIZERS, Optimizer};
use lapidary::ops::OpError;
use lapidary::ops::mask::MaskTensor;
use lapidary::ops::optim::{
    DynamicScale, FIRST_SCALE, GradientOptions, Parameter, ScaleReport, ScaleState, Step,
    coefficients, control, plain_control, step, table,
};
use lapidary::record::{Recording, Tensor};
use lapidary::tensor::{DType, HostTensor};
use lapidary::verify::compare_recording;

use crate::support::{gpu, options, values};

const ROWS: usize = 4;
const RATE: f64 = 0.01;
const SHAPES: [[usize; 2]; 2] = [[33, 31], [1, 7]];

fn host(dtype: DType, shape: &[usize], values: &[f32]) -> HostTensor {
    HostTensor::from_f32_as(dtype, shape.to_vec(), values).expect("shape fits")
}

/// Two parameters with f16 gradients and copies, trained by one plan.
struct Training {
    plan: Box<dyn Plan>,
    optimizer: Optimizer,
    call: u64,
    scale: f32,
    _setup: Recording,
}

/// Words of every parameter, copy and state, and the scale's report.
type Downloaded = (Vec<Vec<u32>>, ScaleReport);

impl Training {
    fn new(engine: &dyn Engine, optimizer: Optimizer, scaling: DynamicScale) -> Self {
        let (mut setup, mut recording) = (Recording::new(), Recording::new());
        let rows = coefficients(&mut recording, ROWS);
        let scale = ScaleState::upload(&mut setup, FIRST_SCALE).expect("uploads");
        let mut parameters = Vec::new();
        let mut gradients: Vec<Tensor> = Vec::new();
        for (seed, shape) in SHAPES.iter().enumerate() {
            let first = host(DType::F32, shape, &values(seed as u64, shape[0] * shape[1]));
            let value = setup.upload(&first);
            let parameter = Parameter::new(&mut setup, &optimizer, &value).expect("f32");
            let parameter = parameter
                .with_copy(&mut setup, FloatType::F16)
                .expect("f16");
            parameters.push(parameter);
            gradients.push(recording.input(DType::F16, shape));
        }
        let options = GradientOptions {
            scaling: Some(scaling),
            ..GradientOptions::default()
        };
        let all: Vec<&Tensor> = gradients.iter().collect();
        let decided = control(&mut recording, &all, &scale, &options).expect("records");
        let shared = Step {
            optimizer: &optimizer,
            coefficients: &rows,
            control: &decided,
        };
        for (parameter, gradient) in parameters.iter().zip(&gradients) {
            step(&mut recording, &shared, parameter, gradient).expect("records");
        }
        recording.download(scale.words());
        for parameter in &parameters {
            recording.download(parameter.value());
            recording.download(parameter.copy().expect("kept"));
            parameter
                .state()
                .iter()
                .for_each(|state| recording.download(state));
        }
        engine.run(&setup).expect("runs");
        Self {
            plan: engine.prepare(&recording).expect("prepares"),
            optimizer,
            call: 0,
            scale: FIRST_SCALE,
            _setup: setup,
        }
    }

    /// One replay with the gradients of `seed`, scaled as they would be; with an infinity when asked.
    fn step(&mut self, seed: u64, overflow: bool) -> Downloaded {
        self.call += 1;
        // The host never says that a step was skipped.
        let rows = table(&self.optimizer, RATE, (self.call, 0), ROWS).expect("small");
        let mut inputs = vec![rows];
        for shape in SHAPES {
            let mut scaled: Vec<f32> = values(seed, shape[0] * shape[1])
                .into_iter()
                .map(|value| value * self.scale / 65536.0)
                .collect();
            if overflow && shape == SHAPES[0] {
                scaled[600] = f32::INFINITY;
            }
            inputs.push(host(DType::F16, &shape, &scaled));
        }
        let mut made = self.plan.run(&inputs).expect("runs");
        let report = ScaleState::report(&made.remove(0)).expect("eight words");
        self.scale = report.scale;
        (made.iter().map(HostTensor::words).collect(), report)
    }
}

#[test]
fn an_overflow_halves_the_scale_and_changes_nothing_else() {
    let (on_gpu, on_cpu) = (gpu(options()), CpuEngine::new());
    for name in OPTIMIZERS {
        let optimizer = Optimizer::named(name, Convention::PyTorch).expect("a name");
        for engine in [&on_gpu as &dyn Engine, &on_cpu] {
            let scaling = DynamicScale::default();
            let mut smooth = Training::new(engine, optimizer, scaling);
            let mut bumpy = Training::new(engine, optimizer, scaling);
            let before = bumpy.step(1, false);
            assert_eq!(before.0, smooth.step(1, false).0);
            for (seed, skipped) in [(7, 1), (8, 2)] {
                let bad = bumpy.step(seed, true);
                assert_eq!(bad.0, before.0, "{name}: a skipped step changed something");
                let scale = FIRST_SCALE / f32::from(1u8 << skipped);
                assert_eq!(
                    (bad.1.scale, bad.1.skipped, bad.1.taken),
                    (scale, skipped, 1)
                );
                assert_eq!((bad.1.good, bad.1.not_finite), (0, 1));
            }
            // Bias corrections count the steps that were taken: from here on the bits are those of
            // a run without the overflows. The gradients are exact at every scale.
            for seed in 2..7 {
                let (smooth, bumpy) = (smooth.step(seed, false), bumpy.step(seed, false));
                assert_eq!(smooth.0, bumpy.0, "{name}: step {seed} after an overflow");
                assert_eq!(smooth.1.norm, bumpy.1.norm);
            }
        }
    }
}

#[test]
fn the_scale_grows_after_enough_good_steps() {
    let optimizer = Optimizer::named("sgd", Convention::PyTorch).expect("a name");
    let scaling = DynamicScale {
        interval: 3,
        ..DynamicScale::default()
    };
    let mut training = Training::new(&gpu(options()), optimizer, scaling);
    let scales: Vec<f32> = [false, false, false, false, true, false, false, false]
        .into_iter()
        .map(|overflow| training.step(1, overflow).1.scale / FIRST_SCALE)
        .collect();
    assert_eq!(scales, [1.0, 1.0, 2.0, 2.0, 1.0, 1.0, 1.0, 2.0]);
}

#[test]
fn every_dispatch_of_a_step_is_within_its_bound() {
    let optimizer = Optimizer::named("adamw", Convention::PyTorch).expect("a name");
    let mut recording = Recording::new();
    let rows = recording.upload(&table(&optimizer, RATE, (3, 0), ROWS).expect("small"));
    let scale = ScaleState::upload(&mut recording, 1.0).expect("uploads");
    let value = recording.upload(&host(DType::F32, &[2000], &values(1, 2000)));
    let gradient = recording.upload(&host(DType::BF16, &[2000], &values(2, 2000)));
    let parameter = Parameter::new(&mut recording, &optimizer, &value)
        .and_then(|one| one.with_copy(&mut recording, FloatType::Bf16))
        .expect("f32");
    let options = GradientOptions {
        max_norm: Some(1.0),
        max_value: Some(0.03),
        ..GradientOptions::default()
    };
    let decided = control(&mut recording, &[&gradient], &scale, &options).expect("records");
    let shared = Step {
        optimizer: &optimizer,
        coefficients: &rows,
        control: &decided,
    };
    step(&mut recording, &shared, &parameter, &gradient).expect("records");
    recording.download(&value);
    let reports = compare_recording(&gpu(self::options()), &recording).expect("runs");
    // The 16-bit copy, statistics, the decision, the step.
    assert_eq!(reports.len(), 4);
    for report in reports {
        assert!(report.comparison.passed(), "{report:?}");
    }
}

#[test]
fn clipping_by_norm_and_value_is_that_of_pytorch() {
    let optimizer = Optimizer::named("sgd", Convention::PyTorch).expect("a name");
    let gradients = values(4, 900);
    let norm = gradients
        .iter()
        .map(|&g| f64::from(g).powi(2))
        .sum::<f64>()
        .sqrt();
    let mut recording = Recording::new();
    let rows = recording.upload(&table(&optimizer, 1.0, (1, 0), 1).expect("small"));
    let scale = ScaleState::upload(&mut recording, 1.0).expect("uploads");
    let gradient = recording.upload(&host(DType::F32, &[900], &gradients));
    let value = recording.upload(&host(DType::F32, &[900], &[0.0; 900]));
    let parameter = Parameter::new(&mut recording, &optimizer, &value).expect("f32");
    let options = GradientOptions {
        max_norm: Some(2.0),
        max_value: Some(0.1),
        accumulated_more: 3,
        ..GradientOptions::default()
    };
    let decided = control(&mut recording, &[&gradient], &scale, &options).expect("records");
    let shared = Step {
        optimizer: &optimizer,
        coefficients: &rows,
        control: &decided,
    };
    step(&mut recording, &shared, &parameter, &gradient).expect("records");
    recording.download(&value);
    recording.download(scale.words());
    let results = gpu(self::options()).run(&recording).expect("runs");
    let report = ScaleState::report(&results[1]).expect("eight words");
    assert!((f64::from(report.norm) - norm / 4.0).abs() < 1e-5 * norm);
    let clip = 2.0 / (norm / 4.0 + 1e-6);
    assert!(clip < 1.0 && (f64::from(report.clip) - clip).abs() < 1e-6);
    for (got, gradient) in results[0].to_f32().expect("f32").iter().zip(&gradients) {
        let expected = -(f64::from(*gradient) / 4.0 * clip).clamp(-0.1, 0.1);
        assert!(
            (f64::from(*got) - expected).abs() < 1e-7,
            "{got} for {expected}"
        );
    }
}

#[test]
fn what_is_pruned_stays_zero_and_the_rest_trains_as_without_a_mask() {
    let optimizer = Optimizer::named("adamw", Convention::PyTorch).expect("a name");
    let (n, k) = (9, 45);
    let mask = Mask::from_fn(n, k, |row, column| (row * 3 + column) % 5 != 0);
    let (first, slope) = (values(1, n * k), values(2, n * k));
    let mut recording = Recording::new();
    let rows = coefficients(&mut recording, 1);
    let plain = plain_control(&mut recording).expect("records");
    let words = MaskTensor::upload(&mut recording, &mask).expect("fits");
    let value = recording.upload(&host(DType::F32, &[n, k], &first));
    let gradient = recording.upload(&host(DType::F32, &[n, k], &slope));
    let parameter = Parameter::new(&mut recording, &optimizer, &value)
        .and_then(|one| one.with_mask(&words))
        .expect("one shape");
    let shared = Step {
        optimizer: &optimizer,
        coefficients: &rows,
        control: &plain,
    };
    step(&mut recording, &shared, &parameter, &gradient).expect("records");
    recording.download(&value);
    recording.download(parameter.state().expect("two means"));
    let plan = gpu(options()).prepare(&recording).expect("prepares");
    let mut results = Vec::new();
    let mut dense: Vec<f64> = first.iter().map(|&value| f64::from(value)).collect();
    let mut state = vec![0.0; 2 * n * k];
    let slope: Vec<f64> = slope.iter().map(|&value| f64::from(value)).collect();
    let control = Control {
        factor: 1.0,
        limit: f64::MAX,
    };
    for call in 1..4 {
        results = plan
            .run(&[table(&optimizer, RATE, (call, 0), 1).expect("small")])
            .expect("runs");
        let row = optimizer.coefficients(call, RATE);
        optimizer.step(&row, control, (&mut dense, &slope), &mut state);
    }
    let values = results[0].to_f32().expect("f32");
    let means = results[1].to_f32().expect("f32");
    for at in 0..n * k {
        if mask.keeps(at / k, at % k) {
            assert!((f64::from(values[at]) - dense[at]).abs() < 1e-6);
        } else {
            assert_eq!(
                (values[at], means[2 * at], means[2 * at + 1]),
                (0.0, 0.0, 0.0)
            );
        }
    }
}

#[test]
fn refusals_name_the_operand_and_what_is_allowed() {
    let adam = Optimizer::named("adam", Convention::PyTorch).expect("a name");
    let sgd = Optimizer::named("sgd", Convention::PyTorch).expect("a name");
    let mut recording = Recording::new();
    let half = recording.tensor(DType::F16, &[3, 4]);
    let value = recording.tensor(DType::F32, &[3, 4]);
    let rows = coefficients(&mut recording, 1);
    let plain = plain_control(&mut recording).expect("records");
    let error = Parameter::new(&mut recording, &adam, &half).expect_err("f16 masters");
    assert_eq!(
        error.to_string(),
        "optimizer: parameter is f16, expected f32"
    );
    let parameter = Parameter::new(&mut recording, &adam, &value).expect("f32");
    let shared = Step {
        optimizer: &sgd,
        coefficients: &rows,
        control: &plain,
    };
    let error = step(&mut recording, &shared, &parameter, &half).expect_err("two means");
    assert_eq!(
        error.to_string(),
        "optimizer step: state has shape [12, 2], expected [12, 0], as sgd has it"
    );
    let flat = recording.tensor(DType::F32, &[12]);
    let shared = Step {
        optimizer: &adam,
        ..shared
    };
    let error = step(&mut recording, &shared, &parameter, &flat).expect_err("another shape");
    assert!(matches!(
        error,
        OpError::Shape {
            what: "gradient",
            ..
        }
    ));
    let error = parameter
        .clone()
        .with_copy(&mut recording, FloatType::F32)
        .expect_err("no copy");
    assert!(matches!(error, OpError::Type { what: "copy", .. }));
    let mask = MaskTensor::upload(&mut recording, &Mask::from_fn(3, 5, |_, _| true)).expect("fits");
    assert!(parameter.with_mask(&mask).is_err());
    let scale = ScaleState::upload(&mut recording, 1.0).expect("uploads");
    let none = GradientOptions::default();
    assert!(control(&mut recording, &[], &scale, &none).is_err());
    let wrong = GradientOptions {
        max_norm: Some(-1.0),
        ..none
    };
    let error = control(&mut recording, &[&half], &scale, &wrong).expect_err("negative");
    assert_eq!(
        error.to_string(),
        "loss_scale: max_norm is -1; allowed: over 0, finite and no subnormal"
    );
    assert_eq!(recording.dispatches().count(), 0, "nothing was recorded");
}
