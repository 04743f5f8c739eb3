//! Validation sets and folds in which every class has its share.

use super::random::{Purpose, stream};
use super::shuffle::shuffle;
use super::{DataError, Dataset};

/// Rows to learn from and rows to judge by, each ascending, together all rows once. For
/// [`Dataset::select_rows`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// Rows to learn from.
    pub train: Vec<usize>,
    /// Rows to judge by.
    pub validation: Vec<usize>,
}

/// Sets aside the share `validation_share` of every class, chosen by `seed`.
///
/// Of `n` samples in all, `round(n * share)` are set aside: each class gives the whole part of its
/// own share, and the classes with the largest remainders (the lower class among equals) one more.
/// Every class gives at least one sample and keeps at least one, even if that changes the sum.
///
/// # Errors
/// [`DataError::Setting`] unless the share is between 0 and 1, [`DataError::EmptyClass`] or
/// [`DataError::SmallClass`] for a class with fewer than two samples.
pub fn stratified_split(
    data: &Dataset,
    validation_share: f64,
    seed: u64,
) -> Result<Split, DataError> {
    if !(validation_share > 0.0 && validation_share < 1.0) {
        return Err(DataError::Setting {
            what: "validation share",
            given: validation_share,
            allowed: "between 0 and 1, both excluded",
        });
    }
    data.require_one_label()?;
    data.require_per_class(2)?;
    let classes = shuffled_classes(data, seed);
    let counts = shares(&data.class_counts(), validation_share);
    let mut is_validation = vec![false; data.n_samples()];
    for (rows, count) in classes.iter().zip(counts) {
        rows[..count]
            .iter()
            .for_each(|&row| is_validation[row] = true);
    }
    Ok(split(&is_validation))
}

/// Deals every class over `n_folds` folds, each of which validates once. Fold sizes, and the counts
/// of each class in them, differ by at most one.
///
/// # Errors
/// [`DataError::OutOfRange`] for fewer than two folds or more than samples,
/// [`DataError::EmptyClass`] or [`DataError::SmallClass`] for a class with fewer samples than folds.
pub fn stratified_folds(
    data: &Dataset,
    n_folds: usize,
    seed: u64,
) -> Result<Vec<Split>, DataError> {
    if !(2..=data.n_samples()).contains(&n_folds) {
        return Err(DataError::OutOfRange {
            what: "folds",
            given: n_folds,
            least: 2,
            most: data.n_samples(),
        });
    }
    data.require_one_label()?;
    data.require_per_class(n_folds)?;
    let mut fold_of_row = vec![0; data.n_samples()];
    // Dealing goes on where the class before stopped, so that no fold gets every class's extra.
    let dealt = shuffled_classes(data, seed).concat();
    for (position, &row) in dealt.iter().enumerate() {
        fold_of_row[row] = position % n_folds;
    }
    let is_fold = |fold| fold_of_row.iter().map(|&f| f == fold).collect::<Vec<_>>();
    Ok((0..n_folds).map(|fold| split(&is_fold(fold))).collect())
}

/// The rows of each class in the order of its own stream.
fn shuffled_classes(data: &Dataset, seed: u64) -> Vec<Vec<usize>> {
    let mut classes = vec![Vec::new(); data.n_classes()];
    for (row, &label) in data.labels().iter().enumerate() {
        classes[label as usize].push(row);
    }
    for (class, rows) in classes.iter_mut().enumerate() {
        shuffle(rows, &mut stream(seed, Purpose::Split, class as u32));
    }
    classes
}

/// How many each class gives, by largest remainders.
fn shares(counts: &[usize], share: f64) -> Vec<usize> {
    let n: usize = counts.iter().sum();
    let total = (n as f64 * share).round() as usize;
    let exact: Vec<f64> = counts.iter().map(|&n| n as f64 * share).collect();
    let mut given: Vec<usize> = exact.iter().map(|x| x.floor() as usize).collect();
    let mut by_remainder: Vec<usize> = (0..counts.len()).collect();
    by_remainder.sort_by(|&a, &b| exact[b].fract().total_cmp(&exact[a].fract()));
    let n_extra = total.saturating_sub(given.iter().sum());
    for &class in by_remainder.iter().take(n_extra) {
        given[class] += 1;
    }
    let clamped = given.iter().zip(counts);
    clamped
        .map(|(given, &n)| (*given).clamp(1, n - 1))
        .collect()
}

fn split(is_validation: &[bool]) -> Split {
    let (validation, train) = (0..is_validation.len()).partition(|&row| is_validation[row]);
    Split { train, validation }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(counts: &[usize]) -> Dataset {
        let mut labels: Vec<u32> = Vec::new();
        for (class, &n) in counts.iter().enumerate() {
            labels.extend(std::iter::repeat_n(class as u32, n));
        }
        let names = (0..counts.len()).map(|class| format!("c{class}")).collect();
        Dataset::new(vec![0.0; labels.len()], vec![1], labels, names).unwrap()
    }

    fn counts(data: &Dataset, rows: &[usize]) -> Vec<usize> {
        data.select_rows(rows).unwrap().class_counts()
    }

    #[test]
    fn every_class_gives_its_share_and_the_sum_is_right() {
        let set = data(&[100, 33, 7]);
        let Split { train, validation } = stratified_split(&set, 0.25, 1).unwrap();
        // 25, 8.25 and 1.75: 35 in all, the extra one to the largest remainder.
        assert_eq!(counts(&set, &validation), [25, 8, 2]);
        assert_eq!(train.len(), 105);
        let mut all = [train.clone(), validation.clone()].concat();
        all.sort_unstable();
        assert!(all.iter().copied().eq(0..140));
        assert!(train.is_sorted() && validation.is_sorted());
        assert_eq!(stratified_split(&set, 0.25, 1).unwrap().train, train);
        assert_ne!(stratified_split(&set, 0.25, 2).unwrap().train, train);
    }

    #[test]
    fn every_class_gives_one_and_keeps_one() {
        let set = data(&[2, 200, 2]);
        let of = |share| counts(&set, &stratified_split(&set, share, 0).unwrap().validation);
        assert_eq!(of(0.001), [1, 1, 1]);
        assert_eq!(of(0.999), [1, 199, 1]);
    }

    #[test]
    fn folds_cover_every_row_once_and_share_each_class() {
        let set = data(&[11, 7, 5]);
        let folds = stratified_folds(&set, 5, 3).unwrap();
        let mut validated = Vec::new();
        for fold in &folds {
            let found = counts(&set, &fold.validation);
            assert!((2..=3).contains(&found[0]) && (1..=2).contains(&found[1]) && found[2] == 1);
            assert!((4..=5).contains(&fold.validation.len()));
            assert_eq!(fold.train.len() + fold.validation.len(), 23);
            validated.extend_from_slice(&fold.validation);
        }
        validated.sort_unstable();
        assert!(validated.into_iter().eq(0..23));
    }

    #[test]
    fn shares_and_classes_that_cannot_be_split_are_named() {
        let set = data(&[5, 1, 3]);
        for share in [0.0, 1.0, -0.5, f64::NAN] {
            assert!(matches!(
                stratified_split(&set, share, 0),
                Err(DataError::Setting { .. })
            ));
        }
        let small = stratified_split(&set, 0.5, 0).unwrap_err().to_string();
        assert_eq!(small, "class 1 (\"c1\") has 1 samples; needed: at least 2");
        assert!(matches!(
            stratified_folds(&data(&[4, 0]), 2, 0),
            Err(DataError::EmptyClass { class: 1, .. })
        ));
        for n_folds in [0, 1, 10] {
            assert!(matches!(
                stratified_folds(&set, n_folds, 0),
                Err(DataError::OutOfRange { what: "folds", .. })
            ));
        }
    }
}
