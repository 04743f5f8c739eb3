//! Sets made by hand, right and wrong.

use super::*;

fn names(n: usize) -> Vec<String> {
    (0..n).map(|class| format!("c{class}")).collect()
}

fn small() -> Dataset {
    let inputs = (0..12).map(|x| x as f32).collect();
    Dataset::new(inputs, vec![2, 2], vec![1, 0, 1], names(2)).unwrap()
}

#[test]
fn a_set_knows_its_samples_and_classes() {
    let set = small();
    assert_eq!(
        (set.n_samples(), set.n_features(), set.n_classes()),
        (3, 4, 2)
    );
    assert_eq!(set.sample(1), [4.0, 5.0, 6.0, 7.0]);
    assert_eq!(set.class_counts(), [1, 2]);
    assert!(set.require_per_class(1).is_ok());
    assert_eq!(
        set.require_per_class(2).unwrap_err().to_string(),
        "class 0 (\"c0\") has 1 samples; needed: at least 2"
    );
}

#[test]
fn rows_and_features_are_selected_in_the_order_asked_for() {
    let set = small()
        .with_feature_names(["p", "q", "r", "s"].map(String::from).to_vec())
        .unwrap();
    let rows = set.select_rows(&[2, 0, 2]).unwrap();
    assert_eq!(rows.labels(), [1, 1, 1]);
    assert_eq!(rows.sample(0), set.sample(2));
    let features = set.select_features(&[3, 1]).unwrap();
    assert_eq!(features.inputs(), [3.0, 1.0, 7.0, 5.0, 11.0, 9.0]);
    assert_eq!(features.sample_shape(), [2]);
    assert_eq!(features.feature_names().unwrap(), ["s", "q"]);
    assert_eq!(set.first(2).unwrap(), set.select_rows(&[0, 1]).unwrap());
    assert_eq!(
        set.clone().reshaped(vec![4]).unwrap().inputs(),
        set.inputs()
    );
    assert!(matches!(set.select_rows(&[]), Err(DataError::NoSamples)));
    assert!(matches!(
        set.select_rows(&[3]),
        Err(DataError::OutOfRange {
            given: 3,
            most: 2,
            ..
        })
    ));
    assert!(matches!(
        set.select_features(&[4]),
        Err(DataError::OutOfRange {
            what: "feature",
            ..
        })
    ));
    assert!(matches!(set.first(4), Err(DataError::OutOfRange { .. })));
    assert!(matches!(
        set.reshaped(vec![5]),
        Err(DataError::OtherShape { .. })
    ));
}

#[test]
fn what_does_not_fit_together_is_named() {
    let message = |inputs: &[f32], shape: &[usize], labels: &[u32], n_classes| {
        let set = Dataset::new(
            inputs.to_vec(),
            shape.to_vec(),
            labels.to_vec(),
            names(n_classes),
        );
        set.unwrap_err().to_string()
    };
    assert_eq!(
        message(&[1.0; 5], &[2], &[0, 0], 1),
        "2 samples of shape [2] need 4 inputs, but 5 were given"
    );
    assert_eq!(message(&[], &[2], &[], 1), "there are no samples");
    assert_eq!(
        message(&[], &[2, 0], &[0], 1),
        "samples of shape [2, 0] have no elements, or too many to count"
    );
    assert!(message(&[], &[usize::MAX, 2], &[0], 1).starts_with("samples of shape"));
    assert_eq!(
        message(&[1.0; 2], &[1], &[0, 3], 3),
        "row 1: label 3; allowed: 0 to 2"
    );
    assert_eq!(
        message(&[1.0], &[1], &[0], 0),
        "there are 0 classes; allowed: 1 to 65536"
    );
    assert_eq!(
        message(&[0.0, 1.0, 2.0, f32::NEG_INFINITY], &[2], &[0, 0], 1),
        "row 1, feature 1: -inf; allowed: finite values, and NaN where missing"
    );
    let twice = vec!["a".to_owned(), "a".to_owned()];
    assert!(matches!(
        Dataset::new(vec![1.0], vec![1], vec![0], twice),
        Err(DataError::DuplicateClass { name }) if name == "a"
    ));
    assert!(matches!(
        small().with_feature_names(names(3)),
        Err(DataError::FeatureCount {
            given: 3,
            n_features: 4,
            ..
        })
    ));
}
