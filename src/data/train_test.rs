//! A set to learn from and one to be judged by, of the same kind.

use std::collections::BTreeMap;

use super::{DataError, Dataset};
use crate::io::safetensors::shown;

/// What a network learns from and what it is judged by: the same sample shape and classes.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainTest {
    /// For training; every class has samples.
    pub train: Dataset,
    /// For judging.
    pub test: Dataset,
}

impl TrainTest {
    /// A pair of sets. The labels of `test` are renumbered to the classes of `train` by name.
    ///
    /// # Errors
    /// [`DataError::OtherShape`] or [`DataError::OtherColumn`] if samples differ in kind,
    /// [`DataError::UnknownClass`] for a class that training has not, [`DataError::EmptyClass`] if
    /// one of training has no samples.
    pub fn new(train: Dataset, mut test: Dataset) -> Result<Self, DataError> {
        // Of a vocabulary, few tokens need occur.
        if train.labels_per_sample() == 1 {
            train.require_per_class(1)?;
        }
        if test.sample_shape() != train.sample_shape() {
            return Err(DataError::OtherShape {
                found: test.sample_shape().to_vec(),
                expected: train.sample_shape().to_vec(),
            });
        }
        require_same_columns(&train, &test)?;
        if test.class_names() != train.class_names() {
            let codes = codes_in(&train, &test)?;
            test.rename_classes(&codes, train.class_names());
        }
        Ok(Self { train, test })
    }
}

fn require_same_columns(train: &Dataset, test: &Dataset) -> Result<(), DataError> {
    let name = |data: &Dataset, index: usize| {
        let names = data.feature_names();
        names.map_or_else(String::new, |names| shown(&names[index]))
    };
    let differs = |&index: &usize| {
        train.feature_names().map(|names| &names[index])
            != test.feature_names().map(|names| &names[index])
    };
    match (0..train.n_features()).find(differs) {
        None => Ok(()),
        Some(index) => Err(DataError::OtherColumn {
            index,
            found: name(test, index),
            expected: name(train, index),
        }),
    }
}

/// For each class of `test` the class of `train` with its name; 0 for one without samples.
fn codes_in(train: &Dataset, test: &Dataset) -> Result<Vec<u32>, DataError> {
    let names = train.class_names().iter().zip(0_u32..);
    let code_of: BTreeMap<&String, u32> = names.collect();
    let classes = test.class_names().iter().zip(test.class_counts());
    let code = |(name, count): (&String, usize)| match code_of.get(name) {
        Some(&code) => Ok(code),
        None if count == 0 => Ok(0),
        None => Err(DataError::UnknownClass {
            name: shown(name),
            n_classes: train.n_classes(),
        }),
    };
    classes.map(code).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_the_test_set_are_renumbered_by_the_names_of_training() {
        let set = |labels: &[u32], classes: &[&str]| {
            let classes = classes.iter().map(|&name| name.to_owned()).collect();
            Dataset::new(vec![0.0; labels.len()], vec![1], labels.to_vec(), classes).unwrap()
        };
        let train = set(&[0, 1, 2], &["a", "b", "c"]);
        let pair = TrainTest::new(train.clone(), set(&[0, 1, 1], &["c", "a"])).unwrap();
        assert_eq!(pair.test.labels(), [2, 0, 0]);
        assert_eq!(pair.test.class_names(), ["a", "b", "c"]);
        assert!(TrainTest::new(train.clone(), set(&[0], &["a", "unused"])).is_ok());
        assert_eq!(
            TrainTest::new(train.clone(), set(&[1], &["a", "d"]))
                .unwrap_err()
                .to_string(),
            "class \"d\" is not one of the 3 of training"
        );
        assert!(matches!(
            TrainTest::new(set(&[0, 0], &["a", "b"]), train.clone()),
            Err(DataError::EmptyClass { class: 1, .. })
        ));
        let wide = Dataset::new(vec![0.0; 2], vec![2], vec![0], vec!["a".into()]).unwrap();
        assert!(matches!(
            TrainTest::new(train.clone(), wide),
            Err(DataError::OtherShape { .. })
        ));
        let named = |name: &str| train.clone().with_feature_names(vec![name.into()]).unwrap();
        assert!(TrainTest::new(named("x"), named("x")).is_ok());
        assert!(matches!(
            TrainTest::new(named("x"), named("y")),
            Err(DataError::OtherColumn { index: 0, .. })
        ));
    }
}
