//! Batches do not depend on threads, and every sample comes as often as the options say.

use super::*;

fn data(n: usize) -> Arc<Dataset> {
    let inputs = (0..n * 12).map(|x| x as f32).collect();
    let labels = (0..n as u32).map(|row| row % 3).collect();
    let names = ["a", "b", "c"].map(String::from).to_vec();
    Arc::new(Dataset::new(inputs, vec![1, 3, 4], labels, names).unwrap())
}

fn changing(batch_size: usize, n_ahead: usize) -> LoaderOptions {
    LoaderOptions {
        augmentation: Augmentation {
            max_shift: 1,
            flip_probability: 0.5,
            noise_std: 0.25,
            cutout_side: 1,
            fill: -3.0,
        },
        n_ahead,
        ..LoaderOptions::learning(batch_size, 17)
    }
}

fn all(loader: &Loader, epoch: u32) -> Vec<Batch> {
    loader.epoch(epoch).unwrap().collect()
}

#[test]
fn an_epoch_holds_every_sample_with_its_label() {
    let data = data(23);
    let loader = Loader::new(data.clone(), LoaderOptions::judging(5)).unwrap();
    let batches = all(&loader, 0);
    assert_eq!(batches.len(), 5);
    let counted = batches
        .iter()
        .flat_map(|batch| &batch.rows[..batch.n_counted]);
    assert!(counted.copied().eq(0..23));
    let last = &batches[4];
    assert_eq!(
        (last.n_counted, &last.rows[..]),
        (3, &[20, 21, 22, 0, 1][..])
    );
    for batch in &batches {
        assert_eq!(batch.inputs.len(), 5 * 12);
        for (at, &row) in batch.rows.iter().enumerate() {
            assert_eq!(batch.inputs[at * 12..][..12], *data.sample(row as usize));
            assert_eq!(batch.labels[at], data.labels()[row as usize]);
        }
    }
}

#[test]
fn the_rest_is_kept_dropped_or_padded() {
    let sizes = |last| {
        let options = LoaderOptions {
            last,
            ..LoaderOptions::judging(4)
        };
        let loader = Loader::new(data(10), options).unwrap();
        let batches = all(&loader, 0);
        assert_eq!(batches.len(), loader.n_batches());
        let sizes = batches
            .iter()
            .map(|batch| (batch.rows.len(), batch.n_counted));
        sizes.collect::<Vec<_>>()
    };
    assert_eq!(sizes(Last::Keep), [(4, 4), (4, 4), (2, 2)]);
    assert_eq!(sizes(Last::Drop), [(4, 4), (4, 4)]);
    assert_eq!(sizes(Last::Pad), [(4, 4), (4, 4), (4, 2)]);
}

#[test]
fn batches_do_not_depend_on_the_timing_of_threads() {
    let slow = Loader::new(data(40), changing(8, 0)).unwrap();
    let fast = Loader::new(data(40), changing(8, usize::MAX)).unwrap();
    let expected = all(&slow, 2);
    assert_eq!(all(&fast, 2), expected);
    let mut one_by_one = Vec::new();
    for batch in fast.epoch(2).unwrap() {
        (0..100).for_each(|_| thread::yield_now());
        one_by_one.push(batch);
    }
    assert_eq!(one_by_one, expected);
    assert_ne!(all(&slow, 3), expected);
}

#[test]
fn a_sample_changes_the_same_in_batches_of_any_size() {
    let by_row = |batch_size| {
        let loader = Loader::new(data(40), changing(batch_size, 2)).unwrap();
        let mut samples = Vec::new();
        for batch in loader.epoch(5).unwrap() {
            for (sample, row) in batch.inputs.chunks(12).zip(batch.rows) {
                samples.push((row, sample.to_vec()));
            }
        }
        samples
    };
    assert_eq!(by_row(8), by_row(10));
}

#[test]
fn an_epoch_resumes_at_any_batch() {
    let loader = Loader::new(data(40), changing(8, 2)).unwrap();
    let whole = all(&loader, 1);
    for first in 0..=5 {
        let epoch = loader.epoch_from(1, first).unwrap();
        assert_eq!(epoch.len(), 5 - first);
        assert!(epoch.eq(whole[first..].iter().cloned()));
    }
    assert!(matches!(
        loader.epoch_from(1, 6),
        Err(DataError::OutOfRange {
            given: 6,
            most: 5,
            ..
        })
    ));
}

#[test]
fn an_epoch_dropped_early_ends_its_thread() {
    let loader = Loader::new(data(40), changing(1, 1)).unwrap();
    for taken in 0..3 {
        let mut epoch = loader.epoch(0).unwrap();
        assert_eq!(epoch.by_ref().take(taken).count(), taken);
        drop(epoch);
    }
    // The thread held a reference to the set.
    assert_eq!(Arc::strong_count(&loader.data), 1);
}

#[test]
fn sizes_missing_values_and_changes_that_do_not_fit_are_refused() {
    for batch_size in [0, 41] {
        assert!(matches!(
            Loader::new(data(40), LoaderOptions::judging(batch_size)),
            Err(DataError::OutOfRange { most: 40, .. })
        ));
    }
    let missing = Dataset::new(vec![1.0, f32::NAN], vec![1], vec![0; 2], vec!["a".into()]);
    assert!(matches!(
        Loader::new(Arc::new(missing.unwrap()), LoaderOptions::judging(1)),
        Err(DataError::Missing { row: 1, feature: 0 })
    ));
    let mut options = changing(2, 2);
    options.augmentation.max_shift = 3;
    assert!(Loader::new(data(40), options).is_err());
}
