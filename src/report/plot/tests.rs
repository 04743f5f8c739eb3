//! What every plot promises, and what each draws.

use super::*;

const HOSTILE: &str = "<b onclick=\"x\">&'\u{1}";
const ESCAPED: &str = "&lt;b onclick=&quot;x&quot;&gt;&amp;&#39;\u{FFFD}";

fn point(label: &str, intensity: f64, gop_per_s: f64) -> Point {
    Point {
        label: label.to_owned(),
        intensity,
        gop_per_s,
        highlighted: false,
    }
}

fn a_roofline(points: Vec<Point>) -> Roofline {
    Roofline {
        title: "roof".to_owned(),
        memory: vec![MemoryRoof {
            name: "read".to_owned(),
            gb_per_s: 20.0,
        }],
        compute: vec![ComputeRoof {
            name: "f32".to_owned(),
            gop_per_s: 80.0,
        }],
        points,
    }
}

fn bar(label: &str, value: f64) -> Bar {
    Bar {
        label: label.to_owned(),
        value,
        low: value,
        high: value,
        highlighted: false,
    }
}

fn some_bars(rows: Vec<Bar>) -> Bars {
    Bars {
        title: "bars".to_owned(),
        unit: "ms".to_owned(),
        rows,
    }
}

fn some_lines(log: bool, series: &[(&str, &[(f64, f64)])]) -> Lines {
    let axis = |label: &str| Axis {
        label: label.to_owned(),
        log,
    };
    let series = series.iter().map(|(name, points)| Series {
        name: (*name).to_owned(),
        points: points.to_vec(),
    });
    Lines {
        title: "lines".to_owned(),
        x_axis: axis("step"),
        y_axis: axis("loss"),
        series: series.collect(),
    }
}

/// Each plot with one thing of that name in it.
fn each_with_label(label: &str) -> [Result<String, PlotError>; 3] {
    [
        roofline(&a_roofline(vec![point(label, 1.0, 10.0)])),
        bars(&some_bars(vec![bar(label, 3.0)])),
        lines(&some_lines(false, &[(label, &[(1.0, 2.0)])])),
    ]
}

fn message(result: Result<String, PlotError>) -> String {
    result.expect_err("refused").to_string()
}

/// Parts of the markup between `<` and `>`, with no others allowed.
fn tags(svg: &str) -> Vec<&str> {
    let parts: Vec<&str> = svg.split('<').skip(1).collect();
    parts
        .iter()
        .map(|part| {
            let (tag, text) = part.split_once('>').expect("every tag ends");
            assert!(!text.contains('>'), "{part}");
            tag
        })
        .collect()
}

#[test]
fn one_thing_makes_a_plot_that_names_it() {
    for svg in each_with_label("alone") {
        let svg = svg.unwrap();
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
        assert!(svg.contains(">alone</text>"), "{svg}");
        assert_eq!(svg.matches("<svg").count(), 1);
        assert_eq!(svg.matches("</svg>").count(), 1);
    }
}

#[test]
fn a_plot_refers_to_nothing_outside_itself() {
    for svg in each_with_label("alone") {
        let svg = svg.unwrap().replace("http://www.w3.org/2000/svg", "");
        for reference in ["http", "href", "url(", "<script", "<style", "<image"] {
            assert!(!svg.contains(reference), "{reference}");
        }
    }
}

#[test]
fn hostile_labels_are_text() {
    for svg in each_with_label(HOSTILE) {
        let svg = svg.unwrap();
        assert!(svg.contains(&format!(">{ESCAPED}</text>")), "{svg}");
        assert!(tags(&svg).iter().all(|tag| !tag.starts_with('b')));
    }
    let mut hostile = some_lines(false, &[("a", &[(0.0, 1.0)])]);
    hostile.title = HOSTILE.to_owned();
    hostile.x_axis.label = HOSTILE.to_owned();
    hostile.y_axis.label = HOSTILE.to_owned();
    let svg = lines(&hostile).unwrap();
    // The title is its name, its tooltip and its text.
    assert_eq!(svg.matches(ESCAPED).count(), 5);
    let mut hostile = a_roofline(vec![point("p", 1.0, 10.0)]);
    hostile.memory[0].name = HOSTILE.to_owned();
    hostile.compute[0].name = HOSTILE.to_owned();
    // Either is its text and the outline below it.
    assert_eq!(roofline(&hostile).unwrap().matches(ESCAPED).count(), 4);
}

#[test]
fn long_labels_are_shortened_and_told_whole() {
    let long = format!("begin {} end", "name ".repeat(200));
    for svg in each_with_label(&long) {
        let svg = svg.unwrap();
        let title = format!("<title>{long}</title>begin ");
        assert!(svg.contains(&title), "{svg}");
        assert!(svg.contains("… ") || svg.contains('…'));
        assert!(svg.contains(" end</text>"));
    }
}

#[test]
fn every_color_is_one_the_page_can_turn_dark() {
    let known: Vec<String> = crate::report::palette::all()
        .map(|color| color.to_string())
        .collect();
    for svg in each_with_label("alone") {
        let svg = svg.unwrap();
        for attribute in ["fill=\"#", "stroke=\"#"] {
            for (at, _) in svg.match_indices(attribute) {
                let color = &svg[at + attribute.len() - 1..][..7];
                assert!(known.iter().any(|known| known == color), "{color}");
            }
        }
    }
}

#[test]
fn nothing_to_draw_is_an_error() {
    assert_eq!(
        message(roofline(&a_roofline(Vec::new()))),
        "roof: there are no points"
    );
    let mut roofless = a_roofline(vec![point("p", 1.0, 1.0)]);
    roofless.memory.clear();
    assert!(roofline(&roofless).is_ok());
    roofless.compute.clear();
    assert_eq!(message(roofline(&roofless)), "roof: there are no roofs");
    assert_eq!(
        message(bars(&some_bars(Vec::new()))),
        "bars: there are no bars"
    );
    assert_eq!(
        message(lines(&some_lines(false, &[]))),
        "lines: there are no series"
    );
    assert_eq!(
        message(lines(&some_lines(false, &[("a", &[])]))),
        "lines: there are no points in `a`"
    );
}

#[test]
fn too_much_to_tell_apart_is_an_error() {
    let many = vec![bar("b", 1.0); 1001];
    assert_eq!(
        message(bars(&some_bars(many))),
        "bars: 1001 bars in one plot, at most 1000 can be told apart"
    );
    let series: Vec<(&str, &[(f64, f64)])> = vec![("s", &[(1.0, 1.0)]); 33];
    assert!(matches!(
        lines(&some_lines(false, &series)),
        Err(PlotError::TooMany { most: 32, .. })
    ));
    let many = vec![point("p", 1.0, 1.0); 501];
    assert!(matches!(
        roofline(&a_roofline(many)),
        Err(PlotError::TooMany { most: 500, .. })
    ));
}

#[test]
fn values_with_no_place_on_an_axis_are_named() {
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e101] {
        let text = value.to_string();
        let points = vec![point("p", 1.0, value)];
        assert_eq!(
            message(roofline(&a_roofline(points))),
            format!("roof: G op/s of `p` is {text}, which has no place on an axis")
        );
        assert_eq!(
            message(bars(&some_bars(vec![bar("b", value)]))),
            format!("bars: `b` is {text}, which has no place on an axis")
        );
        let points = [(0.0, 1.0), (1.0, value)];
        assert_eq!(
            message(lines(&some_lines(false, &[("s", &points)]))),
            format!("lines: y of point 1 of `s` is {text}, which has no place on an axis")
        );
    }
    let mut bad = a_roofline(vec![point("p", 1.0, 1.0)]);
    bad.memory[0].gb_per_s = f64::NAN;
    assert!(message(roofline(&bad)).contains("GB/s of `read` is NaN"));
    assert!(
        message(lines(&some_lines(true, &[("s", &[(1e-200, 1.0)])])))
            .contains("x of point 0 of `s` is 0.000")
    );
}

#[test]
fn what_is_not_above_zero_is_named_on_a_logarithmic_axis() {
    for value in [0.0, -2.0] {
        let points = vec![point("p", value, 1.0)];
        assert_eq!(
            message(roofline(&a_roofline(points))),
            format!(
                "roof: intensity of `p` is {value}, and a logarithmic axis shows only what is \
                 above zero"
            )
        );
        let points = [(1.0, value)];
        let series: [(&str, &[(f64, f64)]); 1] = [("s", &points)];
        assert!(lines(&some_lines(false, &series)).is_ok());
        assert!(matches!(
            lines(&some_lines(true, &series)),
            Err(PlotError::NotPositive { label, .. }) if label == "y of point 0 of `s`"
        ));
    }
}

#[test]
fn whiskers_hold_their_value() {
    let mut row = bar("b", 3.0);
    (row.low, row.high) = (2.0, 4.0);
    assert!(bars(&some_bars(vec![row.clone()])).is_ok());
    row.low = 3.5;
    assert_eq!(
        message(bars(&some_bars(vec![row]))),
        "bars: `b` is 3, outside of its range from 3.5 to 4"
    );
}

#[test]
fn extreme_but_finite_values_are_drawn() {
    for (low, high) in [(1e-100, 1e100), (1.0, 1.0 + f64::EPSILON), (7.0, 7.0)] {
        let points = [(low, high), (high, low)];
        for log in [false, true] {
            lines(&some_lines(log, &[("s", &points)])).unwrap();
        }
        let points = vec![point("p", low, high), point("q", high, low)];
        roofline(&a_roofline(points)).unwrap();
        bars(&some_bars(vec![bar("b", -high), bar("c", low)])).unwrap();
    }
    bars(&some_bars(vec![bar("zero", 0.0)])).unwrap();
}

#[test]
fn points_in_one_column_are_all_numbered() {
    let points = (0..40).map(|i| point(&format!("variant {i}"), 2.0, 10.0 + f64::from(i) * 0.2));
    let svg = roofline(&a_roofline(points.collect())).unwrap();
    for number in 1..=40 {
        // In the plot and in the legend.
        assert!(svg.matches(&format!(">{number}</text>")).count() >= 2);
    }
}

#[test]
fn a_roof_without_room_is_named_in_the_legend() {
    let name = "a name with very many letters ".repeat(8);
    let mut crowded = a_roofline(vec![point("p", 1.0, 1.0)]);
    crowded.memory[0].name = name.clone();
    let svg = roofline(&crowded).unwrap();
    assert!(svg.contains(&format!("<title>{name}: 20 GB/s</title>")));
}

#[test]
fn long_series_get_few_markers() {
    let points: Vec<(f64, f64)> = (0..5000).map(|i| (f64::from(i), 1.0)).collect();
    let svg = lines(&some_lines(false, &[("s", &points)])).unwrap();
    let markers = svg.matches("<path").count();
    assert!((20..40).contains(&markers), "{markers}");
}
