//! Reports of invented numbers.

use super::*;

fn row(name: &str, weight_bytes: u64, perplexity: f64, divergence: Option<f64>) -> LanguageRow {
    let of = |value: f64| Estimate {
        value,
        standard_error: value.abs() / 50.0,
    };
    LanguageRow {
        name: name.to_owned(),
        file: format!("models/{name}"),
        sha256: format!("hash of {name}"),
        kv: "f32".to_owned(),
        activations: "float".to_owned(),
        made_by: divergence.map(|_| "quantize gptq int4-g32".to_owned()),
        format: "Q4_1".to_owned(),
        parameters: 1_000_000,
        weight_bytes,
        bits_per_weight: 8.0 * weight_bytes as f64 / 1e6,
        predictions: 511,
        quality: Some(TextQuality {
            loss: of(perplexity.ln()),
            perplexity: of(perplexity),
        }),
        against: divergence.map(|divergence| AgainstBase {
            log_likelihood_difference: of(-divergence),
            divergence: of(divergence),
            median_divergence: 0.5 * divergence,
            divergence_of_99_percent: 2.0 * divergence,
            largest_divergence: 3.0 * divergence,
            same_top_token: of(0.75),
        }),
        speed: Some(TextSpeed {
            prefill: Spread {
                median: 101.5,
                low: 99.5,
                high: 103.5,
            },
            decode: Spread {
                median: 24.5,
                low: 23.5,
                high: 25.5,
            },
            submissions_per_token: Some(1.0),
            cache_bytes: 2048,
            peak_device_bytes: None,
        }),
    }
}

fn example() -> LanguageReport {
    LanguageReport {
        title: "Language models & a text".to_owned(),
        device: "a device".to_owned(),
        driver: "a driver".to_owned(),
        command: "lapidary eval a b --perplexity text.txt".to_owned(),
        text: JudgedText {
            file: "text.txt".to_owned(),
            sha256: "hash of the text".to_owned(),
            tokens: 512,
            predictions: 511,
            window: 512,
            stride: 512,
        },
        timed: Some(Timed {
            prompt_tokens: 128,
            new_tokens: 64,
            repeat: 3,
        }),
        is_complete: true,
        error: None,
        rows: vec![
            row("base", 4_000_000, 24.0, None),
            row("int8", 1_000_000, 24.1, Some(0.001)),
            row("int4 <nearest>", 500_000, 31.0, Some(0.36)),
            row("int4-gptq", 500_000, 27.0, Some(0.2)),
        ],
        notes: Vec::new(),
    }
}

#[test]
fn rows_that_another_beats_are_not_on_the_front() {
    let mut report = example();
    let free = [Some(true), Some(true), Some(false), Some(true)];
    assert_eq!(report.front_by_perplexity(), free);
    assert_eq!(report.front_by_divergence(), free);
    // What was judged by fewer predictions is not compared.
    report.rows[3].predictions = 255;
    let fewer = [Some(true), Some(true), Some(true), None];
    assert_eq!(report.front_by_perplexity(), fewer);
    report.rows[1].quality = None;
    assert_eq!(report.front_by_perplexity()[1], None);
    report.rows[0].weight_bytes = 400_000;
    let smallest = report.front_by_perplexity();
    assert_eq!(smallest, [Some(true), None, Some(false), None]);
}

#[test]
fn the_page_says_every_number_and_what_is_missing() {
    let report = example();
    let page = report.to_html().expect("draws");
    for expected in [
        "Language models &amp; a text",
        "◆ int4-gptq",
        "int4 &lt;nearest&gt;",
        "24.1000",
        "-0.2000",
        "median 0.18, 99 % 0.72, largest 1.08",
        "75.0000 %",
        "4.0x smaller",
        "quantize gptq int4-g32",
        "no receipt",
        "99.5 to 103.5",
        "the median of 3 runs",
        "not measured",
        "hash of the text",
        "a driver",
        "nothing is random",
        "lapidary eval a b --perplexity text.txt",
        "Not in it: base.",
    ] {
        assert!(page.contains(expected), "{expected}");
    }
    assert!(!page.contains("◆ int4 &lt;nearest&gt;"), "beaten");
    assert!(!page.contains("INCOMPLETE"));
    assert_eq!(page.matches("<svg").count(), 2);
    assert_eq!(page, report.to_html().expect("draws"), "the same again");
    let svg = report.perplexity_svg().expect("draws").expect("rows");
    assert!(svg.contains("Perplexity against size") && page.contains(&svg));
}

#[test]
fn what_was_not_measured_is_called_so() {
    let mut report = example();
    report.is_complete = false;
    report.timed = None;
    for row in &mut report.rows[1..] {
        (row.quality, row.against, row.speed) = (None, None, None);
    }
    let page = report.to_html().expect("draws");
    for expected in [
        "INCOMPLETE",
        "Speed was not measured.",
        "Divergence: nothing to draw.",
        "Not in it: int8, int4 &lt;nearest&gt;, int4-gptq.",
    ] {
        assert!(page.contains(expected), "{expected}");
    }
    report.rows[0].quality = None;
    assert_eq!(report.perplexity_svg(), Ok(None));
    assert!(report.to_html().is_ok());
}

#[test]
fn numbers_without_a_place_are_left_out_by_name() {
    let mut report = example();
    if let Some(quality) = &mut report.rows[2].quality {
        quality.perplexity.value = f64::INFINITY;
    }
    // A single prediction has no error; a copy no divergence.
    if let Some(quality) = &mut report.rows[1].quality {
        quality.perplexity.standard_error = f64::NAN;
        quality.loss.standard_error = f64::NAN;
    }
    if let Some(against) = &mut report.rows[3].against {
        against.divergence.value = 0.0;
    }
    let page = report.to_html().expect("draws");
    for expected in [
        "Not in it: int4 &lt;nearest&gt;.",
        "Not in it: base, int4-gptq.",
        "± not known",
    ] {
        assert!(page.contains(expected), "{expected}");
    }
}

#[test]
fn the_middle_of_runs_and_their_ends() {
    let of = |runs: &[f64]| Spread::of(runs).map(|one| (one.median, one.low, one.high));
    assert_eq!(of(&[3.0, 1.0, 2.0]), Some((2.0, 1.0, 3.0)));
    assert_eq!(of(&[4.0, 1.0, 2.0, 3.0]), Some((2.5, 1.0, 4.0)));
    assert_eq!(of(&[7.0]), Some((7.0, 7.0, 7.0)));
    assert_eq!(of(&[]), None);
}

#[test]
fn losses_far_apart_are_on_a_logarithmic_axis_with_the_staircase_above() {
    let mut report = example();
    for (row, value) in report.rows.iter_mut().zip([10.0, 20.0, 1e5, 1e4]) {
        if let Some(quality) = &mut row.quality {
            quality.perplexity.value = value;
            quality.loss.standard_error = 0.01;
        }
    }
    let svg = report.perplexity_svg().expect("draws").expect("rows");
    let ticks: String = svg.split_whitespace().collect();
    assert!(
        ticks.contains(">100</text>") && ticks.contains(">1000</text>"),
        "powers of ten"
    );
    let title = |name: &str| format!("<title>{name}: ");
    for row in &report.rows {
        let name = row.name.replace('<', "&lt;").replace('>', "&gt;");
        assert!(svg.contains(&title(&name)), "{name}");
    }
}
