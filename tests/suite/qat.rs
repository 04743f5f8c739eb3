//! Quantization-aware training: fake-quantized tensors bit for bit as the quantizer makes them, gradients by
//! their definitions, and a trained network that computes the same once it is exported to integers.

use lapidary::autograd::Tape;
use lapidary::engine::{CpuEngine, Engine};
use lapidary::io::safetensors::SafetensorsFile;
use lapidary::kernels::{FloatType, U};
use lapidary::num::quant::fake::{
    fake_quantize as definition, learned_scale_factor, stored_learned_scale,
};
use lapidary::num::{CodeRange, Rounding, ScaleRule, ScaleType, Scheme, quantize};
use lapidary::ops::OpError;
use lapidary::ops::nn::{
    Coding, ScaleScope, Scales, ScalesOf, fake_quantize, quant_scales, stored_scales,
};
use lapidary::record::Recording;
use lapidary::tensor::HostTensor;
use lapidary::verify::compare_recording;

use crate::support::{gpu, options, values};

pub const F32: FloatType = FloatType::F32;

pub fn host(shape: &[usize], values: &[f32]) -> HostTensor {
    HostTensor::from_f32(shape.to_vec(), values).expect("shape fits")
}

pub fn bits(tensor: &HostTensor) -> Vec<u32> {
    let values = tensor.to_f32().expect("f32");
    values.iter().map(|value| value.to_bits()).collect()
}

pub fn schemes() -> Vec<Scheme> {
    let starts = [
        Scheme::int8_tensor(),
        Scheme::int8_channel(),
        Scheme::int4_channel(),
        Scheme::int8_group(32),
        Scheme::int4_group(32),
        Scheme::compressed_tensors_int4(8),
    ];
    let rules = [
        ScaleRule::RestrictedAbsMax,
        ScaleRule::FullRangeAbsMax,
        ScaleRule::SignedAbsMax,
    ];
    let of = |&start: &Scheme| rules.map(|rule| Scheme { rule, ..start });
    starts.iter().flat_map(of).collect()
}

#[test]
fn a_weight_takes_the_values_that_quantizing_it_gives_bit_for_bit() {
    let (n, k) = (24, 96);
    let mut w = values(3, n * k);
    // Ties and their neighbours under a scale of 2^-7: a row whose largest is 127 steps, or 7.
    for (index, value) in w[..k].iter_mut().enumerate() {
        let tie = (index as f32 - 48.5) / 128.0;
        *value = [tie, tie.next_up(), tie.next_down()][index % 3];
    }
    w[0] = 127.0 / 128.0;
    let mut recording = Recording::new();
    let x = recording.upload(&host(&[n, k], &w));
    let mut expected = Vec::new();
    for scheme in schemes() {
        let matrix = quantize("w", &w, n, k, &scheme).expect("finite");
        let (coding, of) = Coding::of_scheme(&scheme).expect("served");
        let scales = quant_scales(&mut recording, &x, coding, of).expect("served");
        let given = Scales {
            scales: &scales,
            zeros: None,
        };
        let y = fake_quantize(&mut recording, &x, &given, coding, F32).expect("served");
        recording.download(&scales);
        recording.download(&y);
        expected.push((scheme, matrix.scales().to_vec()));
        expected.push((scheme, matrix.dequantize()));
    }
    let adapter = gpu(options());
    for engine in [&CpuEngine::new() as &dyn Engine, &adapter] {
        let made = engine.run(&recording).expect("runs");
        for ((scheme, expected), made) in expected.iter().zip(&made) {
            let expected: Vec<u32> = expected.iter().map(|value| value.to_bits()).collect();
            assert_eq!(bits(made), expected, "{scheme:?} on {}", engine.name());
        }
    }
}

#[test]
fn zero_points_give_the_values_that_the_quantizer_gives_bit_for_bit() {
    let (n, k) = (12, 64);
    let w: Vec<f32> = values(4, n * k).iter().map(|x| x + 0.4).collect();
    let mut recording = Recording::new();
    let x = recording.upload(&host(&[n, k], &w));
    let mut expected = Vec::new();
    let int8 = Scheme {
        rule: ScaleRule::MinMax,
        ..Scheme::int8_channel()
    };
    for (scheme, scope) in [
        (Scheme::int4_group_zero_point(32), ScaleScope::Group(32)),
        (int8, ScaleScope::Channel),
    ] {
        let matrix = quantize("w", &w, n, k, &scheme).expect("finite");
        let zeros = matrix.zeros().expect("stored");
        let zeros: Vec<i8> = zeros.iter().map(|&zero| zero as i8).collect();
        assert!(zeros.iter().any(|&zero| zero != 0));
        let count = matrix.scales().len();
        let scales = recording.upload(&host(&[count], matrix.scales()));
        let zeros = HostTensor::from_i8(vec![count], &zeros).expect("fits");
        let zeros = recording.upload(&zeros);
        let coding = Coding {
            scope,
            range: CodeRange::stored_as(scheme.bits),
        };
        let given = Scales {
            scales: &scales,
            zeros: Some(&zeros),
        };
        let y = fake_quantize(&mut recording, &x, &given, coding, F32).expect("served");
        recording.download(&y);
        expected.push(matrix.dequantize());
    }
    let adapter = gpu(options());
    for engine in [&CpuEngine::new() as &dyn Engine, &adapter] {
        for (made, expected) in engine.run(&recording).expect("runs").iter().zip(&expected) {
            let expected: Vec<u32> = expected.iter().map(|value| value.to_bits()).collect();
            assert_eq!(bits(made), expected, "on {}", engine.name());
        }
    }
}

#[test]
fn fake_quantization_per_channel_agrees_with_torch() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/data/torch_fake_quantize.safetensors"
    );
    let file = SafetensorsFile::open(path).expect("the fixture is part of the repository");
    let tensor = |name: &str| file.tensor(name).expect("there");
    let mut recording = Recording::new();
    let x = recording.upload(&tensor("fq.x"));
    let mut expected = Vec::new();
    for bits in [8, 4] {
        let coding = Coding {
            scope: ScaleScope::Channel,
            range: CodeRange::of_bits(bits).expect("a width"),
        };
        let of = ScalesOf {
            rule: ScaleRule::RestrictedAbsMax,
            scale_type: ScaleType::F32,
        };
        let own = quant_scales(&mut recording, &x, coding, of).expect("served");
        let scales = recording.upload(&tensor(&format!("fq.sym{bits}_scale")));
        let given = Scales {
            scales: &scales,
            zeros: None,
        };
        let y = fake_quantize(&mut recording, &x, &given, coding, F32).expect("served");
        recording.download(&own);
        recording.download(&y);
        expected.push(tensor(&format!("fq.sym{bits}_scale")));
        expected.push(tensor(&format!("fq.sym{bits}_perchannel")));
    }
    let adapter = gpu(options());
    for engine in [&CpuEngine::new() as &dyn Engine, &adapter] {
        for (made, expected) in engine.run(&recording).expect("runs").iter().zip(&expected) {
            let (made, expected) = (made.to_f32(), expected.to_f32());
            for (made, expected) in made.expect("f32").iter().zip(expected.expect("f32")) {
                assert!(
                    (made - expected).abs() <= 2e-6 * expected.abs(),
                    "{made} {expected}"
                );
            }
        }
    }
}

/// x, scales and the gradient that arrives, with some elements past the codes.
struct Learned {
    coding: Coding,
    x: Vec<f32>,
    scales: Vec<f32>,
    dy: Vec<f32>,
}

const SHAPE: [usize; 2] = [6, 16];

fn learned(scope: ScaleScope, bits: u32) -> Learned {
    let range = CodeRange::of_bits(bits).expect("a width");
    let coding = Coding { scope, range };
    let count = coding.n_scales(&SHAPE).expect("divides");
    let sizes = values(8, count);
    Learned {
        coding,
        x: values(7, 96).iter().map(|x| 2.0 * x).collect(),
        scales: sizes
            .iter()
            .map(|s| (1.5 + s) / range.max() as f32)
            .collect(),
        dy: values(9, 96),
    }
}

impl Learned {
    /// Value, gradient of x, gradient of the scales.
    fn record(&self) -> Recording {
        let mut tape = Tape::new();
        let x = tape.recording().upload(&host(&SHAPE, &self.x));
        let scales = tape
            .recording()
            .upload(&host(&[self.scales.len()], &self.scales));
        let dy = tape.recording().upload(&host(&SHAPE, &self.dy));
        let (x, scales) = (tape.parameter(&x), tape.parameter(&scales));
        let y = tape
            .fake_quantize(x, scales, None, self.coding)
            .expect("served");
        let value = tape.value(y).clone();
        let gradients = tape.backward(&[(y, &dy)]).expect("recorded");
        tape.recording().download(&value);
        for var in [x, scales] {
            let gradient = gradients.get(var).expect("used").clone();
            tape.recording().download(&gradient);
        }
        tape.into_recording()
    }
}

#[test]
fn gradients_are_the_clamp_mask_and_the_learned_step_sizes_of_their_definition() {
    let adapter = gpu(options());
    let scopes = [
        (ScaleScope::Tensor, 4),
        (ScaleScope::Channel, 8),
        (ScaleScope::Row, 2),
        (ScaleScope::Group(8), 3),
    ];
    for (scope, width) in scopes {
        let case = learned(scope, width);
        let recording = case.record();
        let run = case.x.len() / case.scales.len();
        let factor = f64::from(learned_scale_factor(run, case.coding.range));
        let mut inside = Vec::new();
        let (mut sums, mut sizes) = (vec![0.0; case.scales.len()], vec![0.0; case.scales.len()]);
        for (index, (&x, &dy)) in case.x.iter().zip(&case.dy).enumerate() {
            let made = definition(x, case.scales[index / run], 0, case.coding.range);
            inside.push(made.is_inside);
            let term = f64::from(dy) * made.scale_slope * factor;
            sums[index / run] += term;
            sizes[index / run] += term.abs();
        }
        assert!(
            inside.contains(&true) && inside.contains(&false),
            "{scope:?}"
        );
        for engine in [&CpuEngine::new() as &dyn Engine, &adapter] {
            let made = engine.run(&recording).expect("runs");
            let dx = made[1].to_f32().expect("f32");
            for ((dx, dy), &inside) in dx.iter().zip(&case.dy).zip(&inside) {
                assert_eq!(*dx, if inside { *dy } else { 0.0 });
            }
            let slopes = made[2].to_f32().expect("f32");
            for ((slope, sum), size) in slopes.iter().zip(&sums).zip(&sizes) {
                let allowed = (run as f64 + 8.0) * U * size;
                assert!((f64::from(*slope) - sum).abs() <= allowed, "{slope} {sum}");
            }
        }
        for report in compare_recording(&adapter, &recording).expect("runs") {
            assert!(report.comparison.passed(), "{report:?}");
        }
    }
}

#[test]
fn scales_are_stored_as_their_definition_says_and_gradients_go_straight_through() {
    let learned = [0.1, 3.0, -2.0, 0.0, 1e-7, 1e-41, 65_000.0];
    let signs = [1.0, -1.0, 1.0, -1.0, 1.0, 1.0, -1.0];
    let dy = values(5, learned.len());
    let adapter = gpu(options());
    for scale_type in [ScaleType::F32, ScaleType::F16] {
        let mut tape = Tape::new();
        let scales = tape.recording().upload(&host(&[7], &learned));
        let signed = tape.recording().upload(&host(&[7], &signs));
        let arriving = tape.recording().upload(&host(&[7], &dy));
        let scales = tape.parameter(&scales);
        let stored = tape
            .stored_scales(scales, &signed, scale_type)
            .expect("fits");
        let value = tape.value(stored).clone();
        let gradients = tape.backward(&[(stored, &arriving)]).expect("recorded");
        let gradient = gradients.get(scales).expect("used").clone();
        tape.recording().download(&value);
        tape.recording().download(&gradient);
        let recording = tape.into_recording();
        let pairs = || learned.iter().zip(&signs);
        let expected: Vec<u32> = pairs()
            .map(|(&one, sign)| stored_learned_scale(one, *sign < 0.0, scale_type).to_bits())
            .collect();
        let straight: Vec<f32> = dy.iter().zip(&signs).map(|(dy, sign)| dy * sign).collect();
        for engine in [&CpuEngine::new() as &dyn Engine, &adapter] {
            let made = engine.run(&recording).expect("runs");
            assert_eq!(bits(&made[0]), expected, "{scale_type:?} {}", engine.name());
            assert_eq!(made[1].to_f32().expect("f32"), straight);
        }
    }
    let mut recording = Recording::new();
    let scales = recording.upload(&host(&[3], &[1.0; 3]));
    let signs = recording.upload(&host(&[2], &[1.0; 2]));
    let refused = stored_scales(&mut recording, &scales, &signs, ScaleType::F16);
    assert!(matches!(refused, Err(OpError::Shape { .. })));
}

#[test]
fn a_learned_scale_goes_down_the_error_it_makes() {
    // 4 bits of uniform elements in [-2, 2]: plain descent on the squared error from a scale far too large.
    let mut case = learned(ScaleScope::Tensor, 4);
    case.scales = vec![1.5];
    let cpu = CpuEngine::new();
    let mut errors = Vec::new();
    for _ in 0..120 {
        let y = cpu.run(&case.record()).expect("runs")[0]
            .to_f32()
            .expect("f32");
        case.dy = y.iter().zip(&case.x).map(|(y, x)| 2.0 * (y - x)).collect();
        errors.push(case.dy.iter().map(|d| d * d).sum::<f32>());
        let slope = cpu.run(&case.record()).expect("runs")[2]
            .to_f32()
            .expect("f32")[0];
        case.scales[0] -= 0.05 * slope;
    }
    println!(
        "scale {} error {} from {}",
        case.scales[0], errors[119], errors[0]
    );
    assert!(errors[119] < 0.2 * errors[0], "{errors:?}");
    // The range of 15 codes over 4 is 0.27.
    assert!((0.2..0.4).contains(&case.scales[0]), "{}", case.scales[0]);
}

#[test]
fn what_cannot_be_fake_quantized_is_refused() {
    for scheme in [
        Scheme::int4_group_zero_point(32),
        Scheme::ggml_q8_0(),
        Scheme {
            rounding: Rounding::HalfAway,
            ..Scheme::int8_channel()
        },
    ] {
        assert!(matches!(
            Coding::of_scheme(&scheme),
            Err(OpError::Kernel(_))
        ));
    }
    let mut recording = Recording::new();
    let x = recording.upload(&host(&[2, 12], &[1.0; 24]));
    let (coding, of) = Coding::of_scheme(&Scheme::int4_group(8)).expect("served");
    let refused = quant_scales(&mut recording, &x, coding, of);
    assert!(
        refused.unwrap_err().to_string().contains("groups of 8"),
        "12 is no multiple of 8"
    );
    let scales = recording.upload(&host(&[3], &[1.0; 3]));
    let given = Scales {
        scales: &scales,
        zeros: None,
    };
    let coding = Coding {
        scope: ScaleScope::Channel,
        ..coding
    };
    let before = recording.commands().len();
    assert!(fake_quantize(&mut recording, &x, &given, coding, F32).is_err());
    assert_eq!(recording.commands().len(), before);
}

#[test]
fn sixteen_bit_tapes_store_the_values_rounded_and_pass_gradients_in_full() {
    let mut tape = Tape::new().with_storage(FloatType::F16);
    let scheme = Scheme::int8_channel();
    let w = values(3, 96);
    let weight = tape.recording().upload(&host(&SHAPE, &w));
    let dy = values(9, 96);
    let arriving = tape.recording().upload(&host(&SHAPE, &dy));
    let weight = tape.parameter(&weight);
    let y = tape.fake_quantize_weight(weight, &scheme).expect("served");
    let value = tape.value(y).clone();
    let gradients = tape.backward(&[(y, &arriving)]).expect("recorded");
    let gradient = gradients.get(weight).expect("used").clone();
    tape.recording().download(&value);
    tape.recording().download(&gradient);
    let made = gpu(options()).run(&tape.into_recording()).expect("runs");
    let matrix = quantize("w", &w, 6, 16, &scheme).expect("finite");
    let halves = FloatType::F16.pack(&matrix.dequantize());
    let expected = FloatType::F16.unpack(&halves, 96);
    assert_eq!(made[0].to_f32().expect("widens"), expected);
    // No element of a restricted range is clamped.
    assert_eq!(made[1].to_f32().expect("f32"), dy);
}
