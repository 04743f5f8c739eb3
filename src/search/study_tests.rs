use super::*;
use crate::search::pruner::median;
use crate::search::{Dimension, Domain, Scale, TpeOptions, cross_validate};

fn dimension(name: &str, domain: Domain) -> Dimension {
    Dimension {
        name: name.to_owned(),
        domain,
    }
}

fn options(sampler: Sampler, seed: u64, dimensions: Vec<Dimension>) -> StudyOptions {
    StudyOptions {
        space: Space::new(dimensions).expect("valid"),
        sampler,
        pruner: None,
        direction: Direction::Minimize,
        seed,
    }
}

fn plane() -> Vec<Dimension> {
    vec![
        dimension("x", Domain::uniform(-5.0, 10.0)),
        dimension("y", Domain::uniform(0.0, 15.0)),
    ]
}

fn mixed() -> Vec<Dimension> {
    let integer = |low, high, scale| Domain::Integer {
        low,
        high,
        scale,
        points: Some(3),
    };
    vec![
        dimension("rate", Domain::log_uniform(1e-4, 1.0)),
        dimension("width", integer(8, 512, Scale::Log)),
        dimension("depth", integer(1, 4, Scale::Linear)),
        dimension(
            "kind",
            Domain::Choice(vec!["a".into(), "b".into(), "c".into()]),
        ),
    ]
}

/// A value for any proposal, with a minimum inside of [`mixed`].
fn worth(values: &[Value]) -> f64 {
    let of = |value: &Value| match *value {
        Value::Choice(index) => index as f64 - 1.0,
        Value::Integer(value) => (value as f64).ln() - 2.0,
        Value::Real(value) => value.ln() + 3.0,
    };
    values.iter().map(|value| of(value).powi(2)).sum()
}

/// Branin and Hoo's function, with three minima of 0.397887.
fn branin(x: f64, y: f64) -> f64 {
    use std::f64::consts::PI;
    let b = 5.1 / (4.0 * PI * PI);
    let bowl = y - b * x * x + 5.0 / PI * x - 6.0;
    bowl * bowl + 10.0 * (1.0 - 1.0 / (8.0 * PI)) * x.cos() + 10.0
}

fn run(study: &mut Study, n: u32) {
    let mut objective = |proposal: &Proposal<'_>, reports: &mut Reports<'_>| {
        let value = worth(proposal.values());
        for step in 0..3 {
            if !reports.report(value + 1.0 / f64::from(step + 1)) {
                return Ok(Ended::Pruned);
            }
        }
        Ok::<_, SearchError>(Ended::Value(value))
    };
    study.run(n, &mut objective, &mut |_| {}).expect("runs");
}

#[test]
fn on_branin_parzen_estimators_do_better_than_random_draws() {
    let best_of = |sampler, seed| {
        let mut study = Study::new(options(sampler, seed, plane()));
        let mut objective = |proposal: &Proposal<'_>, _: &mut Reports<'_>| {
            let [x, y] = ["x", "y"].map(|name| proposal.real(name).expect("there"));
            Ok::<_, SearchError>(Ended::Value(branin(x, y)))
        };
        study.run(50, &mut objective, &mut |_| {}).expect("runs");
        study
            .best()
            .and_then(|trial| trial.value)
            .expect("50 values")
    };
    let median_of = |sampler| median((0..20).map(|seed| best_of(sampler, seed)).collect());
    let random = median_of(Sampler::Random).expect("20 values");
    let parzen = median_of(Sampler::Tpe(TpeOptions::default())).expect("20 values");
    assert!(parzen < random, "{parzen} {random}");
    assert!(parzen >= 0.397_887, "{parzen}");
}

#[test]
fn a_grid_tries_every_combination_once() {
    let mut dimensions = mixed();
    dimensions[0].domain = Domain::Real {
        low: 0.01,
        high: 1.0,
        scale: Scale::Log,
        points: Some(2),
    };
    let options = options(Sampler::Grid, 0, dimensions);
    let n = options.space.n_grid().expect("counted");
    assert_eq!(n, 2 * 3 * 3 * 3);
    let mut study = Study::new(options);
    run(&mut study, 1000);
    assert_eq!(study.trials().len(), n as usize);
    let mut seen: Vec<String> = study
        .trials()
        .iter()
        .map(|one| format!("{:?}", one.values))
        .collect();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), n as usize);
    let first = study.trials()[0].values.clone();
    assert_eq!(first[3], Value::Choice(0));
    assert_eq!(study.trials()[1].values[..3], first[..3]);
    assert_eq!(study.trials()[1].values[3], Value::Choice(1));
}

#[test]
fn the_same_seed_tries_the_same_and_another_does_not() {
    for sampler in [Sampler::Random, Sampler::Tpe(TpeOptions::default())] {
        let made = |seed| {
            let mut study = Study::new(options(sampler, seed, mixed()));
            run(&mut study, 30);
            study.trials().to_vec()
        };
        let trials = made(7);
        assert_eq!(trials, made(7));
        assert_ne!(trials, made(8));
        let space = Space::new(mixed()).expect("valid");
        // Every value lies in its domain, or it could not be read again.
        for trial in &trials {
            let json = space.to_json(&trial.values);
            assert_eq!(space.from_json(&json).expect("in the space"), trial.values);
        }
    }
}

#[test]
fn random_draws_reach_both_ends_of_integers_alike() {
    let depth = Domain::Integer {
        low: 1,
        high: 4,
        scale: Scale::Linear,
        points: None,
    };
    let mut study = Study::new(options(Sampler::Random, 0, vec![dimension("depth", depth)]));
    run(&mut study, 2000);
    for value in 1..=4 {
        let drawn = study
            .trials()
            .iter()
            .filter(|one| one.values == [Value::Integer(value)]);
        // Binomial with mean 500 and deviation 19.4.
        let n = drawn.count();
        assert!((400..600).contains(&n), "{value}: {n}");
    }
}

#[test]
fn a_search_that_was_stopped_goes_on_as_if_it_had_not_been() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let with = |seed| StudyOptions {
        pruner: Some(MedianPruner::default()),
        ..options(Sampler::Tpe(TpeOptions::default()), seed, mixed())
    };
    let about = Map::from_iter([("rate".to_owned(), Json::from(0.1 + 0.2))]);
    let open = |name: &str| Study::with_journal(with(5), folder.path().join(name), about.clone());
    let mut whole = open("whole").expect("new");
    run(&mut whole, 40);
    let states = |state| {
        whole
            .trials()
            .iter()
            .filter(move |one| one.state == state)
            .count()
    };
    assert!(states(State::Pruned) > 0 && states(State::Complete) > 10);
    for n in [3, 17, 18, 40] {
        run(&mut open("parts").expect("goes on"), n);
    }
    let text = |name: &str| crate::io::read_text(folder.path().join(name)).expect("reads");
    assert_eq!(text("parts"), text("whole"));
    assert_eq!(open("parts").expect("done").trials(), whole.trials());

    let refused = |about: Map<String, Json>, seed: u64| {
        Study::with_journal(with(seed), folder.path().join("parts"), about)
            .expect_err("another search")
            .to_string()
    };
    assert!(refused(about.clone(), 6).contains("seed was 5, now 6"));
    let other = Map::from_iter([("rate".to_owned(), Json::from(0.3))]);
    assert!(refused(other, 5).contains("rate was 0.30000000000000004, now 0.3"));
    assert!(refused(Map::new(), 5).contains("now missing"));
}

#[test]
fn a_stopped_trial_is_not_counted_and_a_failed_one_is() {
    let mut study = Study::new(options(Sampler::Random, 0, plane()));
    let mut objective = |proposal: &Proposal<'_>, reports: &mut Reports<'_>| {
        Ok::<_, SearchError>(match proposal.number {
            0 => Ended::Failed("no loss".to_owned()),
            1 => Ended::Value(f64::NAN),
            2 => {
                reports.report(1.0);
                assert!(!reports.report(f64::INFINITY));
                Ended::Pruned
            }
            3 => Ended::Value(2.0),
            _ => Ended::Stopped,
        })
    };
    let is_stopped = study.run(10, &mut objective, &mut |_| {}).expect("runs");
    assert!(is_stopped);
    let states: Vec<State> = study.trials().iter().map(|one| one.state).collect();
    use State::{Complete, Failed};
    assert_eq!(states, [Failed, Failed, Failed, Complete]);
    assert_eq!(study.trials()[2].reports, [1.0]);
    let reason = study.trials()[2].reason.as_deref();
    assert_eq!(reason, Some("worth inf at step 1"));
    assert_eq!(study.best().map(|one| one.number), Some(3));
}

#[test]
fn a_journal_that_is_none_is_refused_with_its_line() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let path = folder.path().join("journal");
    let open = || Study::with_journal(options(Sampler::Random, 0, plane()), &path, Map::new());
    drop(open().expect("new"));
    let header = crate::io::read_text(&path).expect("reads");
    for (line, expected) in [
        ("{", "journal:2: "),
        (
            r#"{"trial":1,"values":{},"state":"failed","value":null,"reports":[]}"#,
            "where 0 follows",
        ),
        (
            r#"{"trial":0,"values":{"x":99},"state":"failed","value":null,"reports":[]}"#,
            "`x` is 99",
        ),
        (
            r#"{"trial":0,"values":{},"state":"pruned","value":1.0,"reports":[]}"#,
            "only a complete",
        ),
    ] {
        let text = format!("{header}{line}\n");
        crate::io::atomic::write_bytes(&path, text.as_bytes()).expect("writes");
        let refused = open().expect_err("no journal").to_string();
        assert!(refused.contains(expected), "{refused}");
    }
}

#[test]
fn folds_report_the_mean_of_those_done_and_the_one_in_training() {
    let mut study = Study::new(options(Sampler::Random, 0, plane()));
    let mut objective = |_: &Proposal<'_>, reports: &mut Reports<'_>| {
        cross_validate(3, reports, &mut |fold, report| {
            let value = fold as f64 + 1.0;
            assert!(report(value - 0.5) && report(value));
            Ok::<_, SearchError>(Ended::Value(value))
        })
    };
    study.run(1, &mut objective, &mut |_| {}).expect("runs");
    let trial = &study.trials()[0];
    assert_eq!(trial.value, Some(2.0));
    assert_eq!(
        trial.reports,
        [0.5, 1.0, 1.25, 1.5, (1.0 + 2.0 + 2.5) / 3.0, 2.0]
    );
}
