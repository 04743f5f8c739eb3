//! Each change by itself, and that its random numbers stay where they are.

use super::*;

const SHAPE: [usize; 3] = [2, 5, 4];

fn image() -> Vec<f32> {
    (1..=40).map(|x| x as f32).collect()
}

fn changed(augmentation: Augmentation, row: u32) -> Vec<f32> {
    augmentation.check(&SHAPE).unwrap();
    let mut sample = image();
    let occasion = Occasion {
        seed: 9,
        epoch: 1,
        row,
    };
    augmentation.apply(&mut sample, &SHAPE, occasion);
    sample
}

#[test]
fn a_shift_moves_both_channels_alike_and_reaches_every_place() {
    let augmentation = Augmentation {
        max_shift: 2,
        fill: -1.0,
        ..Augmentation::default()
    };
    let moved = |down: i32, right: i32| -> Vec<f32> {
        let at = |c: i32, y: i32, x: i32| {
            let inside = (0..5).contains(&y) && (0..4).contains(&x);
            if inside {
                (c * 20 + y * 4 + x + 1) as f32
            } else {
                -1.0
            }
        };
        let mut all = Vec::new();
        for c in 0..2 {
            for y in 0..5 {
                all.extend((0..4).map(|x| at(c, y - down, x - right)));
            }
        }
        all
    };
    let mut seen = std::collections::BTreeSet::new();
    for row in 0..500 {
        let found = changed(augmentation, row);
        let places = (-2..=2).flat_map(|down| (-2..=2).map(move |right| (down, right)));
        let place = places.into_iter().find(|&(d, r)| moved(d, r) == found);
        seen.insert(place.expect("a shift by up to two pixels"));
    }
    assert_eq!(seen.len(), 25);
}

#[test]
fn a_flip_mirrors_rows_about_as_often_as_asked() {
    let flip = |flip_probability| Augmentation {
        flip_probability,
        ..Augmentation::default()
    };
    let mirrored: Vec<f32> = image()
        .chunks(4)
        .flat_map(|row| row.iter().rev().copied())
        .collect();
    assert_eq!(changed(flip(1.0), 0), mirrored);
    let results: Vec<Vec<f32>> = (0..2000).map(|row| changed(flip(0.25), row)).collect();
    let n = results.iter().filter(|&found| *found == mirrored).count();
    assert!(
        results
            .iter()
            .all(|found| *found == mirrored || *found == image())
    );
    assert!((430..570).contains(&n), "{n}");
}

#[test]
fn noise_has_the_deviation_asked_for() {
    let augmentation = Augmentation {
        noise_std: 0.5,
        ..Augmentation::default()
    };
    let mut noise = Vec::new();
    for row in 0..500 {
        let found = changed(augmentation, row);
        noise.extend(
            found
                .iter()
                .zip(image())
                .map(|(x, clean)| f64::from(x - clean)),
        );
    }
    let mean = noise.iter().sum::<f64>() / noise.len() as f64;
    let variance = noise.iter().map(|x| x * x).sum::<f64>() / noise.len() as f64;
    assert!(mean.abs() < 0.015, "{mean}");
    assert!((variance.sqrt() - 0.5).abs() < 0.01, "{variance}");
}

#[test]
fn a_cutout_is_a_square_that_may_stick_out() {
    let augmentation = Augmentation {
        cutout_side: 3,
        fill: 0.0,
        ..Augmentation::default()
    };
    let mut sizes = std::collections::BTreeSet::new();
    for row in 0..500 {
        let found = changed(augmentation, row);
        let holes: Vec<usize> = (0..20).filter(|&at| found[at] == 0.0).collect();
        assert!(holes.iter().all(|&at| found[20 + at] == 0.0));
        let [ys, xs] = [
            holes.iter().map(|at| at / 4).collect::<Vec<_>>(),
            holes.iter().map(|at| at % 4).collect::<Vec<_>>(),
        ];
        let side =
            |places: &[usize]| places.iter().max().unwrap() - places.iter().min().unwrap() + 1;
        assert_eq!(side(&ys) * side(&xs), holes.len());
        sizes.insert((side(&ys), side(&xs)));
    }
    assert!(sizes.contains(&(3, 3)) && sizes.contains(&(2, 2)));
    assert!(
        sizes
            .iter()
            .all(|&(h, w)| (2..=3).contains(&h) && (2..=3).contains(&w))
    );
}

#[test]
fn turning_one_change_on_leaves_the_others_where_they_were() {
    let noise = Augmentation {
        noise_std: 1.0,
        ..Augmentation::default()
    };
    let both = Augmentation {
        cutout_side: 1,
        fill: -100.0,
        ..noise
    };
    for row in 0..50 {
        let (one, two) = (changed(noise, row), changed(both, row));
        let differing: Vec<usize> = (0..40).filter(|&at| one[at] != two[at]).collect();
        assert_eq!(differing.len(), 2);
        assert!(differing.iter().all(|&at| two[at] == -100.0));
    }
}

#[test]
fn seeds_epochs_and_rows_change_differently() {
    let augmentation = Augmentation {
        noise_std: 1.0,
        ..Augmentation::default()
    };
    let noise = |seed, epoch, row| {
        let mut sample = [0.0];
        augmentation.apply(&mut sample, &[1], Occasion { seed, epoch, row });
        sample[0]
    };
    let first = noise(1, 1, 1);
    assert_eq!(first, noise(1, 1, 1));
    assert!(first != noise(2, 1, 1) && first != noise(1, 2, 1) && first != noise(1, 1, 2));
    assert!(noise(1, 1, (MAX_SAMPLES - 1) as u32).is_finite());
}

#[test]
fn what_cannot_be_done_to_a_shape_is_refused() {
    let none = Augmentation::default();
    assert!(none.is_none() && none.check(&[7]).is_ok());
    let noise = Augmentation {
        noise_std: 0.1,
        ..none
    };
    assert!(noise.check(&[7]).is_ok());
    let shift = |max_shift| Augmentation { max_shift, ..none };
    assert!(shift(3).check(&[4, 5]).is_ok());
    assert!(matches!(
        shift(4).check(&[4, 5]),
        Err(DataError::OutOfRange { most: 3, .. })
    ));
    assert!(matches!(
        shift(1).check(&[20]),
        Err(DataError::NotImages { .. })
    ));
    assert!(shift(1).check(&[0, 0]).is_err());
    for wrong in [
        Augmentation {
            flip_probability: 1.5,
            ..none
        },
        Augmentation {
            flip_probability: f32::NAN,
            ..none
        },
        Augmentation {
            noise_std: -1.0,
            ..none
        },
        Augmentation {
            noise_std: f32::INFINITY,
            ..none
        },
        Augmentation {
            fill: f32::NAN,
            ..none
        },
    ] {
        assert!(matches!(
            wrong.check(&SHAPE),
            Err(DataError::Setting { .. })
        ));
    }
}
