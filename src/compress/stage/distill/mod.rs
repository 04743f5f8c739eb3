//! Distillation: a small network learns from what a large one says of the training set, where labels are few or
//! say less (Hinton et al., "Distilling the Knowledge in a Neural Network", 2015).
//!
//! The teacher's outputs are made once and kept beside the result. The student then learns them together with the
//! labels there are, and may be fine-tuned on these alone. Training is the [`Trainer`]'s, so the same seed, data
//! and adapter give the same bits.

mod options;
mod outputs;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use self::outputs::outputs;
use super::kept::{Kept, Notes};
use super::{Context, StageError};
use crate::autograd::HintLoss;
use crate::compress::model::Model;
use crate::data::split::stratified_split;
use crate::data::{Dataset, Loader, LoaderOptions, Standardization};
use crate::io::sha256;
use crate::models::{Hinted, NamedTensor, Network, Sequential};
use crate::num::optim::{Convention, Optimizer};
use crate::num::schedule::Schedule;
use crate::train::{Additions, Start, Teacher, TeacherHint, TrainOptions, Trainer};

pub use options::{DistillOptions, Hint};
pub use outputs::{Cache, CacheUse};

/// Its name in progress.
const STAGE: &str = "distill";
/// The note of training that is kept.
const EPOCHS: &str = "epochs";

/// The network that learns.
#[derive(Debug, Clone, PartialEq)]
pub struct Student {
    /// What it is.
    pub network: Sequential,
    /// How its samples are prepared; `None` for the way of its teacher.
    pub inputs: Option<Standardization>,
    /// What it begins with, in the network's order; `None` to draw that from the seed.
    pub values: Option<Vec<NamedTensor>>,
}

impl From<Sequential> for Student {
    /// Drawn from the seed, with samples prepared as its teacher's.
    fn from(network: Sequential) -> Self {
        Self {
            network,
            inputs: None,
            values: None,
        }
    }
}

impl From<&Model> for Student {
    /// A trained network that learns more; its weights are trained as f32.
    fn from(model: &Model) -> Self {
        Self {
            network: model.network().clone(),
            inputs: Some(model.inputs().clone()),
            values: Some(model.values()),
        }
    }
}

/// What distillation did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DistillLog {
    /// The teacher's network.
    pub teacher: String,
    /// The student's network.
    pub student: String,
    /// Samples of the training set.
    pub samples: usize,
    /// Samples with labels, of each class.
    pub labelled: Vec<usize>,
    /// What became of the cache of the teacher's outputs.
    pub cache: CacheUse,
    /// Layers of teacher and student whose features are compared.
    pub hint_layers: Option<[usize; 2]>,
    /// Steps in all.
    pub steps: u64,
    /// Every epoch.
    pub epochs: Vec<DistillEpoch>,
}

/// An epoch.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DistillEpoch {
    /// What was learned from.
    pub phase: Phase,
    /// Its index in the phase, from 0.
    pub epoch: u32,
    /// Mean of the losses of its steps.
    pub loss: f64,
}

/// What a student learns from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The teacher, and labels by their share.
    Teacher,
    /// Labels alone.
    Labels,
}

/// Trains a student by a teacher on the training set. The result is f32.
///
/// # Errors
/// [`StageError`]: settings out of range, networks that do not go together, missing values in the data, too few
/// samples with labels for each class to have one, a teacher whose outputs are not finite, what the engine and the
/// files say, and [`StageError::Stopped`].
pub fn distill(
    context: &Context<'_>,
    teacher: &Model,
    student: &Student,
    options: &DistillOptions,
) -> Result<(Model, DistillLog), StageError> {
    options.check(teacher, student)?;
    let networks = (teacher.network(), &student.network);
    let hint = options.hint.as_ref();
    let layers = hint.map(|hint| hint.layers(networks.0, networks.1));
    let layers = layers.transpose()?;
    let rows = labelled_rows(context, options)?;
    let taught = teacher.prepare(context.train)?;
    taught.require_complete()?;
    let layer = layers.map(|[of_teacher, _]| of_teacher);
    let made = outputs(context, (teacher, &taught), layer, options.cache.as_ref())?;

    let samples = taught.n_samples();
    let mut from = Teacher::new(made.logits, options.loss);
    from.labelled = rows.as_ref().map(|rows| {
        let mut labelled = vec![false; samples];
        rows.iter().for_each(|&row| labelled[row] = true);
        labelled.into()
    });
    let mut hinted = None;
    if let (Some(hint), Some([_, own]), Some((shape, features))) = (hint, layers, made.features) {
        hinted = Some(match hint.loss {
            HintLoss::Attention => Hinted::new(student.network.clone(), own)?,
            HintLoss::Squares | HintLoss::Cosine => {
                Hinted::projected(student.network.clone(), own, &shape)?
            }
        });
        from.hint = Some(TeacherHint {
            features,
            shape,
            loss: hint.loss,
            weight: hint.weight,
        });
    }
    let inputs = student.inputs.as_ref().unwrap_or(teacher.inputs());
    let data = match &student.inputs {
        Some(own) => {
            let mut data = context.train.clone();
            own.apply(&mut data)?;
            Arc::new(data)
        }
        None => Arc::new(taught),
    };
    let labelled = match (&rows, options.fine_tune_epochs) {
        (Some(rows), 1..) => Arc::new(data.select_rows(rows)?),
        _ => Arc::clone(&data),
    };
    let mut log = DistillLog {
        teacher: teacher.network().describe(),
        student: student.network.describe(),
        samples,
        labelled: match &rows {
            Some(rows) => context.train.select_rows(rows)?.class_counts(),
            None => context.train.class_counts(),
        },
        cache: made.cache,
        hint_layers: layers,
        steps: 0,
        epochs: Vec::new(),
    };

    let values = student.values.iter().flatten();
    let values: Vec<String> = values.map(|(_, value)| sha256([value.bytes()])).collect();
    let begun = (&student.network, &student.inputs, values);
    let kept = Kept::of(context, ("distill", teacher), &(begun, options))?;
    let network: &dyn Network = match &hinted {
        Some(hinted) => hinted,
        None => &student.network,
    };
    let first = Course {
        phase: Phase::Teacher,
        epochs: options.epochs,
        learning_rate: options.learning_rate,
        data,
        kept: kept.as_ref(),
    };
    let additions = Additions {
        teacher: Some(from),
        ..Additions::default()
    };
    let start = start(network, student, context.seed)?;
    let mut values = train(
        context,
        network,
        (first, options),
        (start, additions),
        &mut log,
    )?;
    // Without the projection, whose tensors are the last.
    values.truncate(student.network.tensors().len());
    if options.fine_tune_epochs > 0 {
        let second = Course {
            phase: Phase::Labels,
            epochs: options.fine_tune_epochs,
            learning_rate: options.fine_tune_rate,
            data: labelled,
            kept: kept.as_ref(),
        };
        let from = (Start::Parameters(values), Additions::default());
        values = train(context, &student.network, (second, options), from, &mut log)?;
    }
    let model = Model::new(student.network.clone(), inputs.clone(), values)?;
    Ok((model, log))
}

/// What a distilled student is compared with: the same network, first values and rate, trained for as many steps on
/// the labels alone, of the same samples.
///
/// # Errors
/// As [`distill`].
pub fn by_labels_alone(
    context: &Context<'_>,
    teacher: &Model,
    student: &Student,
    options: &DistillOptions,
) -> Result<Model, StageError> {
    options.check(teacher, student)?;
    let inputs = student.inputs.as_ref().unwrap_or(teacher.inputs());
    let mut data = context.train.clone();
    inputs.apply(&mut data)?;
    let steps = |samples: usize| (samples / options.batch_size.clamp(1, samples)).max(1) as u64;
    let wanted = u64::from(options.epochs) * steps(data.n_samples());
    if let Some(rows) = labelled_rows(context, options)? {
        data = data.select_rows(&rows)?;
    }
    let own = steps(data.n_samples());
    let epochs = wanted.div_ceil(own) + u64::from(options.fine_tune_epochs);
    let course = Course {
        phase: Phase::Labels,
        epochs: u32::try_from(epochs).unwrap_or(u32::MAX),
        learning_rate: options.learning_rate,
        data: Arc::new(data),
        kept: None,
    };
    let mut log = DistillLog {
        teacher: String::new(),
        student: student.network.describe(),
        samples: course.data.n_samples(),
        labelled: course.data.class_counts(),
        cache: CacheUse::None,
        hint_layers: None,
        steps: 0,
        epochs: Vec::new(),
    };
    let start = start(&student.network, student, context.seed)?;
    let from = (start, Additions::default());
    let values = train(context, &student.network, (course, options), from, &mut log)?;
    Ok(Model::new(student.network.clone(), inputs.clone(), values)?)
}

/// Rows of the samples with labels; `None` for all.
fn labelled_rows(
    context: &Context<'_>,
    options: &DistillOptions,
) -> Result<Option<Vec<usize>>, StageError> {
    let (data, samples) = (context.train, context.train.n_samples());
    match options.labelled {
        None => Ok(None),
        Some(all) if all == samples => Ok(None),
        Some(n) if (data.n_classes()..samples).contains(&n) => {
            let share = n as f64 / samples as f64;
            let split = stratified_split(data, share, context.seed)?;
            Ok(Some(split.validation))
        }
        Some(n) => Err(StageError::Setting {
            what: "samples with labels".to_owned(),
            given: n.to_string(),
            allowed: format!("{} to {samples}", data.n_classes()),
        }),
    }
}

/// What training begins with: the student's values, and a projection drawn from the seed.
fn start(network: &dyn Network, student: &Student, seed: u64) -> Result<Start, StageError> {
    let Some(values) = &student.values else {
        return Ok(Start::Seed);
    };
    let mut all = values.clone();
    all.extend(network.parameters(seed)?.into_iter().skip(values.len()));
    Ok(Start::Parameters(all))
}

/// One course of training.
struct Course<'a> {
    phase: Phase,
    epochs: u32,
    learning_rate: f64,
    data: Arc<Dataset>,
    kept: Option<&'a Kept<'a>>,
}

fn train(
    context: &Context<'_>,
    network: &dyn Network,
    (course, options): (Course<'_>, &DistillOptions),
    (start, additions): (Start, Additions),
    log: &mut DistillLog,
) -> Result<Vec<NamedTensor>, StageError> {
    let Course {
        phase,
        epochs,
        learning_rate,
        data,
        kept,
    } = course;
    let batch_size = options.batch_size.min(data.n_samples());
    let loader = Loader::new(data, LoaderOptions::learning(batch_size, context.seed))?;
    let per_epoch = loader.n_batches() as u64;
    let total = u64::from(epochs) * per_epoch;
    let optimizer =
        Optimizer::named("adamw", Convention::PyTorch).map_err(|error| StageError::Setting {
            what: "optimizer".to_owned(),
            given: error.to_string(),
            allowed: "adamw".to_owned(),
        })?;
    let settings = TrainOptions {
        learning_rate,
        schedule: Schedule::Polynomial {
            total,
            power: 1.0,
            end: 0.0,
        },
        precision: options.precision,
        batch_size,
        steps_per_epoch: per_epoch,
        seed: context.seed,
        ..TrainOptions::new(optimizer)
    };
    let file = match phase {
        Phase::Teacher => "by-teacher",
        Phase::Labels => "by-labels",
    };
    let (mut start, mut done) = (start, Vec::new());
    if let Some(stopped) = kept.and_then(|kept| kept.training(file, network))
        && let Some(before) = stopped.note(EPOCHS)
    {
        done = before;
        start = Start::Checkpoint(stopped.checkpoint);
    }
    let mut trainer = Trainer::with(context.engine, network, (settings, start), additions)?;
    let first = u32::try_from(trainer.n_steps() / per_epoch).unwrap_or(u32::MAX);
    if first > 0 {
        let done = [trainer.n_steps() as usize, total as usize];
        context.tell(STAGE, format!("going on after epoch {first}"), done)?;
    }
    for epoch in first..epochs {
        let mut sum = 0.0;
        for batch in loader.epoch(epoch)? {
            let what = match phase {
                Phase::Teacher => format!("epoch {} of the teacher", epoch + 1),
                Phase::Labels => format!("epoch {} of the labels", epoch + 1),
            };
            context.tell(STAGE, what, [trainer.n_steps() as usize, total as usize])?;
            sum += trainer.step(&batch)?;
        }
        done.push(DistillEpoch {
            phase,
            epoch,
            loss: sum / per_epoch as f64,
        });
        if let Some(kept) = kept {
            let notes = Notes::default().with(EPOCHS, &done)?;
            kept.keep_training(file, (&trainer, &Vec::new()), notes)?;
        }
    }
    log.epochs.extend(done);
    log.steps += trainer.n_steps();
    Ok(trainer.parameters()?)
}
