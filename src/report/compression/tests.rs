//! What the page and the table say, of numbers made up for these tests.

use super::*;
use crate::compress::outcome::{Histogram, LayerOutcome, Quality, Verification, wilson};

const HOSTILE: &str = "<b onclick=\"x\">&'\u{1b}[31m";

fn layer(name: &str, format: &str, bytes: u64, sparsity: f64, error: f64) -> LayerOutcome {
    LayerOutcome {
        name: name.to_owned(),
        shape: vec![10, 64],
        format: format.to_owned(),
        bytes,
        sparsity,
        weight_error: Some(error),
        histogram: Histogram::of(&[-0.5, -0.2, 0.0, 0.1, 0.3, 0.31, 0.6], 8),
    }
}

/// A version that finds this share of 1000 samples of two classes.
fn outcome(name: &str, bytes: u64, accuracy: f64) -> Outcome {
    let right = (500.0 * accuracy).round() as u64;
    Outcome {
        name: name.to_owned(),
        network: "64 inputs, linear 10".to_owned(),
        layers: vec![
            layer("0.weight", "int8-channel", bytes / 2, 0.8, 0.01),
            layer("2.weight", "f32", bytes / 2, 0.0, 0.0),
        ],
        file_bytes: bytes,
        bits_per_weight: 8.2,
        device_bits_per_weight: 8.2,
        quality: Quality {
            samples: 1000,
            accuracy: wilson(accuracy, 1000),
            f1: Some(wilson(accuracy, 1000)),
            auc: None,
            loss: 0.4,
            agreement: Some(0.97),
            confusion: vec![vec![right, 500 - right], vec![500 - right, right]],
        },
        speed: Some(Speed {
            load_ms: 30.0,
            p50_ms: 2.0,
            p95_ms: 2.5,
            p99_ms: 3.0,
            throughput: 4000.0,
            device_bytes: 2 * bytes,
            weight_bytes: bytes,
        }),
        kernels: Vec::new(),
        verification: Some(Verification {
            operations: 7,
            elements: 4480,
            exact: 4000,
            worst_over_bound: 0.25,
            worst_operation: "matmul_quant 0".to_owned(),
            tensors_read_back: 4,
        }),
        sha256: format!("{name}-hash"),
        notes: Vec::new(),
    }
}

fn with_speed(mut outcome: Outcome, p50_ms: f64, throughput: f64) -> Outcome {
    let speed = outcome.speed.as_mut().expect("has times");
    (speed.p50_ms, speed.throughput) = (p50_ms, throughput);
    outcome
}

fn report(steps: Vec<Outcome>) -> CompressionReport {
    CompressionReport {
        title: "A network made smaller".to_owned(),
        device: "llvmpipe".to_owned(),
        driver: "Mesa".to_owned(),
        seed: 7,
        created_from: "[[stage]]\nkind = \"quantize\"".to_owned(),
        input_sha256: "baseline-hash".to_owned(),
        output_sha256: "int8-hash".to_owned(),
        class_names: vec!["cat".to_owned(), "dog".to_owned()],
        baseline: outcome("baseline", 400_000, 0.88),
        steps,
        sensitivities: vec![Sensitivity {
            layer: "0.weight".to_owned(),
            setting: "int4-g64".to_owned(),
            lost: 0.012,
        }],
        notes: vec!["Times are of a software adapter.".to_owned()],
    }
}

fn example() -> CompressionReport {
    report(vec![
        with_speed(outcome("int8", 104_000, 0.876), 1.0, 6400.0),
        with_speed(outcome("worse", 200_000, 0.7), 2.2, 3900.0),
        with_speed(outcome("int4", 60_000, 0.86), 2.5, 2000.0),
    ])
}

/// Marks of the front in the plots of a page: orange diamonds with a name.
fn marked(svg: &str, name: &str) -> bool {
    let title = format!("fill=\"#D9480F\" stroke=\"#FFFFFF\"><title>{name}: ");
    svg.contains(&title)
}

#[test]
fn the_headline_is_that_of_the_output() {
    let mut report = example();
    assert_eq!(report.result().name, "int8");
    assert_eq!(
        gained_and_lost(&report.baseline, report.result()),
        "3.8x smaller, 0.4 points of accuracy lost, 1.6x faster at batch 64, 2.0x faster at batch 1"
    );
    report.output_sha256 = "lost".to_owned();
    assert_eq!(report.result().name, "int4", "the last step");
    report.steps.clear();
    assert_eq!(report.result().name, "baseline");
}

#[test]
fn what_fell_is_called_slower_and_what_is_missing_not_measured() {
    let report = example();
    let words = |index: usize| gained_and_lost(&report.baseline, &report.steps[index]);
    assert!(words(2).contains("2.0x slower at batch 64"), "{}", words(2));
    assert!(
        words(1).contains("2.5 % slower at batch 64"),
        "{}",
        words(1)
    );
    assert!(words(1).contains("10 % slower at batch 1"), "{}", words(1));

    let mut untimed = outcome("int8", 104_000, 0.89);
    untimed.speed = None;
    untimed.verification = None;
    let report = self::report(vec![untimed]);
    let words = gained_and_lost(&report.baseline, report.result());
    assert_eq!(
        words,
        "3.8x smaller, 1.0 points of accuracy gained, speed not measured"
    );
    for text in [report.to_html().expect("a page"), report.to_text(100)] {
        assert!(text.contains("speed not measured"), "{text}");
        assert!(!text.contains("NaN"), "{text}");
    }
    let html = report.to_html().expect("a page");
    assert!(html.contains("int8: not verified."));
    assert!(html.contains("Not measured: int8."));
}

#[test]
fn every_section_is_there() {
    let html = example().to_html().expect("a page");
    for section in [
        "Accuracy against size and latency",
        "Every step",
        "Layer by layer",
        "Class by class",
        "Verification",
        "Where this comes from",
        "Recipe",
    ] {
        assert_eq!(html.matches(&format!("<h2>{section}</h2>")).count(), 1);
    }
    for said in [
        "int8: 3.8x smaller, 0.4 points of accuracy lost",
        "Energy</dt><dd>not measured",
        "<td>energy</td><td>not measured</td>",
        "7 operations on the device are within their bounds",
        "4 tensors of the file were read back",
        "<td>seed</td><td>7</td>",
        "<td>driver</td><td>Mesa</td>",
        "baseline-hash",
        "int8-hash",
        "[[stage]]\nkind = &quot;quantize&quot;",
        "Times are of a software adapter.",
        "2.0x slower",
        "80.0 %",
        "0.25 of what is allowed",
    ] {
        assert!(html.contains(said), "{said}");
    }
    // Two of tradeoffs, one of sensitivities, four confusions, two layers of four versions.
    assert_eq!(html.matches("<svg").count(), 2 + 1 + 4 + 8);
    assert_eq!(html.matches("role=\"img\"").count(), 15);
    assert_eq!(html.matches("<details").count(), 4);
    assert_eq!(html.matches("<details open>").count(), 1);
}

#[test]
fn marks_are_those_of_the_front() {
    let report = example();
    assert_eq!(report.front_by_size(), [true, true, false, true]);
    assert_eq!(
        report.front_by_latency(),
        [Some(true), Some(true), Some(false), Some(false)]
    );
    let svg = report.pareto_svg().expect("a picture");
    for (version, on_front) in report.versions().zip(report.front_by_size()) {
        assert_eq!(marked(&svg, &version.name), on_front, "{}", version.name);
    }
    let html = report.to_html().expect("a page");
    assert!(html.contains("<th scope=\"row\">◆ int4<"));
    assert!(html.contains("<th scope=\"row\">worse<"));
    let text = report.to_text(120);
    assert!(
        text.contains("* int4") && text.contains("  worse"),
        "{text}"
    );
}

#[test]
fn a_version_that_was_not_timed_is_not_on_the_front_of_latency() {
    let mut report = example();
    report.steps[0].speed = None;
    let front = report.front_by_latency();
    assert_eq!(front, [Some(true), None, Some(false), Some(false)]);
    // A time that is none counts as not measured.
    let broken = with_speed(outcome("int8", 104_000, 0.9), f64::NAN, 0.0);
    report.steps[0] = broken;
    assert_eq!(report.front_by_latency(), front);
    report.to_html().expect("a page");
}

#[test]
fn a_failure_is_shouted() {
    let mut report = example();
    let found = report.steps[0].verification.as_mut().expect("verified");
    found.worst_over_bound = 3.0;
    assert!(report.to_text(120).contains("FAILED"));
    let html = report.to_html().expect("a page");
    assert!(html.contains("are NOT WITHIN their bounds"));
    assert!(html.contains("<dd>FAILED</dd>"));
}

#[test]
fn bits_on_the_device_are_said_where_they_are_others() {
    let mut report = example();
    let html = |report: &CompressionReport| report.to_html().expect("a page");
    assert!(!html(&report).contains("8.2 on the device"));
    report.steps[0].bits_per_weight = 3.0;
    report.steps[0].device_bits_per_weight = 5.0;
    assert!(html(&report).contains("5 on the device"));
}

#[test]
fn names_are_text_everywhere() {
    let mut report = example();
    let hostile = || HOSTILE.to_owned();
    report.title = hostile();
    (report.device, report.driver) = (hostile(), hostile());
    report.created_from = hostile();
    (report.input_sha256, report.output_sha256) = (hostile(), hostile());
    report.class_names = vec![hostile()];
    report.notes = vec![hostile()];
    report.sensitivities[0].layer = hostile();
    report.sensitivities[0].setting = hostile();
    report.baseline.name = hostile();
    for step in &mut report.steps {
        step.name = hostile();
        step.network = hostile();
        step.sha256 = hostile();
        step.notes = vec![hostile()];
        step.layers[0].name = hostile();
        step.layers[0].format = hostile();
        let found = step.verification.as_mut().expect("verified");
        found.worst_operation = hostile();
    }
    let html = report.to_html().expect("a page");
    assert!(!html.contains("<b onclick") && !html.contains('\u{1b}'));
    assert!(html.matches("&lt;b onclick").count() > 30);
    for text in [report.to_text(40), report.to_text(200)] {
        assert!(!text.contains('\u{1b}'), "{text}");
    }
}

#[test]
fn a_page_needs_nothing_else() {
    let html = example().to_html().expect("a page");
    let html = html.replace("http://www.w3.org/2000/svg", "");
    for reference in [
        "http:", "https:", " src=", "href=", "url(", "@import", "<script",
    ] {
        assert!(!html.contains(reference), "{reference}");
    }
    assert!(html.contains("prefers-color-scheme: dark") && html.contains("@media print"));
}

#[test]
fn the_same_report_gives_the_same_text() {
    let (report, again) = (example(), example());
    assert_eq!(report.to_html(), again.to_html());
    assert_eq!(report.to_text(100), again.to_text(100));
    assert_eq!(report.pareto_svg(), again.pareto_svg());
    let json = |report: &CompressionReport| serde_json::to_string(report).expect("plain data");
    assert_eq!(json(&report), json(&again));
    assert!(json(&report).contains("\"worst_over_bound\":0.25"));
}

#[test]
fn the_table_is_aligned_and_keeps_to_its_width() {
    let mut report = example();
    report.steps[1].name = "a step with a name that is far too long for any table".to_owned();
    for max_width in [40, 72, 80, 100, 140] {
        let text = report.to_text(max_width);
        for line in text.lines() {
            assert!(line.chars().count() <= max_width, "{max_width}: {line}");
        }
        assert!(text.contains("not measured") && text.contains("baseline"));
    }
    let text = report.to_text(80);
    let table: Vec<&str> = text
        .lines()
        .skip_while(|line| !line.starts_with("step"))
        .collect();
    let widths: Vec<usize> = table[..6].iter().map(|line| line.chars().count()).collect();
    assert!(widths.iter().all(|width| *width == widths[0]), "{text}");
    assert!(
        text.contains("87.6 % (-0.4)") && text.contains("6,400"),
        "{text}"
    );
    assert!(report.to_text(40).contains("    latency p50        1 ms"));
}

#[test]
fn too_many_classes_are_not_drawn_and_the_page_says_so() {
    let mut report = example();
    let mut eye = vec![vec![0; 40]; 40];
    for (class, row) in eye.iter_mut().enumerate() {
        row[class] = 25;
    }
    report.baseline.quality.confusion = eye.clone();
    for step in &mut report.steps {
        step.quality.confusion = eye.clone();
    }
    let html = report.to_html().expect("a page");
    assert!(html.contains("There are too many names to draw: 40."));
    assert!(html.contains("<th scope=\"row\">39 <"));
}

#[test]
fn a_report_of_nothing_is_a_page() {
    let mut report = report(Vec::new());
    report.baseline.layers.clear();
    report.baseline.quality.confusion.clear();
    report.sensitivities.clear();
    report.notes.clear();
    report.created_from.clear();
    report.baseline.speed = None;
    let html = report.to_html().expect("a page");
    assert!(html.contains("this is the baseline alone"));
    assert!(html.contains("It has no layers with weights."));
    assert!(html.contains("There is no recipe."));
    assert!(html.contains("Latency was not measured."));
    report.to_text(80);
}

#[test]
fn numbers_without_a_place_are_named() {
    let mut report = example();
    report.steps[0].quality.accuracy.value = f64::NAN;
    let refused = report.to_html().expect_err("NaN").to_string();
    assert!(refused.contains("the worth of `int8` is NaN"), "{refused}");
    report.to_text(80);
}
