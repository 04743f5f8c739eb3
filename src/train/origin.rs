//! Where a number that is not finite came from: the recording of a step once more over the same batch, with every
//! tensor that has a name read back after the kernel that writes it. Slow, and needed once.

use std::collections::BTreeMap;
use std::fmt;

use crate::autograd::{Gradients, Tape, Var};
use crate::engine::{Engine, EngineError};
use crate::record::{Access, BufferId, Command, Recording, Tensor};
use crate::tensor::HostTensor;

/// The first number of a step that is infinite or NaN.
#[derive(Debug, Clone, PartialEq)]
pub struct Origin {
    /// Which tensor holds it.
    pub tensor: String,
    /// Kernel and shape of the operation that made it; `None` for what was there before the step.
    pub operation: Option<String>,
    /// First such element, row-major.
    pub index: usize,
    /// Its value.
    pub value: f32,
}

impl Origin {
    /// For gradients that are finite but too large for their squares to be added.
    pub(super) fn of_the_norm() -> Self {
        Self {
            tensor: "the sum of the squares of all gradients".to_owned(),
            operation: Some("loss_scale".to_owned()),
            index: 0,
            value: f32::INFINITY,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (tensor, index, value) = (&self.tensor, self.index, self.value);
        write!(f, "{tensor}, element {index}, is {value}")?;
        match &self.operation {
            Some(operation) => write!(f, ", made by {operation}"),
            None => f.write_str(" before the step"),
        }
    }
}

/// A tensor that is looked at, and what it is called.
#[derive(Debug, Clone)]
pub(super) struct Watched {
    tensor: Tensor,
    name: String,
}

impl Watched {
    pub fn new(tensor: &Tensor, name: impl Into<String>) -> Self {
        Self {
            tensor: tensor.clone(),
            name: name.into(),
        }
    }
}

/// What a tape holds: results, named after the parameters that they were made with, and gradients.
pub(super) fn watched_on(
    tape: &Tape,
    gradients: &Gradients,
    parameters: &BTreeMap<Var, String>,
) -> Vec<Watched> {
    let mut names: BTreeMap<Var, String> = parameters
        .iter()
        .map(|(&var, name)| (var, format!("parameter `{name}`")))
        .collect();
    // The last parameter before each result.
    let mut layers = parameters.clone();
    let mut watched = Vec::new();
    for (var, inputs) in tape.results() {
        let own: Vec<String> = inputs
            .iter()
            .filter_map(|input| parameters.get(input))
            .map(|name| format!("`{name}`"))
            .collect();
        let layer = inputs
            .iter()
            .rev()
            .find_map(|input| layers.get(input))
            .cloned();
        let name = match &layer {
            _ if !own.is_empty() => format!("the result with {}", own.join(" and ")),
            Some(layer) => format!("the result after `{layer}`"),
            None => "a result of the batch".to_owned(),
        };
        if let Some(layer) = layer {
            layers.insert(var, layer);
        }
        watched.push(Watched::new(tape.value(var), name.clone()));
        names.insert(var, name);
    }
    for (var, gradient) in gradients.iter() {
        let of = names.get(&var).map_or("the batch", String::as_str);
        watched.push(Watched::new(gradient, format!("the gradient of {of}")));
    }
    watched
}

/// Runs the first `n_commands` of a recording on `inputs` and returns the first number that is not finite in what
/// `before` names, or in what a kernel wrote that `watched` names.
pub(super) fn find(
    engine: &dyn Engine,
    (recording, n_commands): (&Recording, usize),
    inputs: &[HostTensor],
    (before, watched): (&[Watched], &[Watched]),
) -> Result<Option<Origin>, EngineError> {
    let mut by_buffer: BTreeMap<BufferId, &Watched> = BTreeMap::new();
    for one in watched {
        // A view of a tensor shares its buffer: the first name is that of the operation.
        by_buffer.entry(one.tensor.buffer().id()).or_insert(one);
    }
    let mut checked = Recording::new();
    for (tensor, host) in recording.inputs().iter().zip(inputs) {
        checked.upload_words(tensor.buffer(), host.words())?;
    }
    let mut seen: Vec<(&Watched, Option<String>)> = Vec::new();
    for one in before {
        checked.download(&one.tensor);
        seen.push((one, None));
    }
    for command in recording.commands().iter().take(n_commands) {
        if matches!(command, Command::Download(_) | Command::Free(_)) {
            continue;
        }
        checked.append(command);
        let Command::Dispatch(dispatch) = command else {
            continue;
        };
        let written = dispatch
            .bindings
            .iter()
            .filter(|binding| binding.access != Access::Read);
        for binding in written {
            if let Some(one) = by_buffer.get(&binding.buffer.id()) {
                let launch = &dispatch.launch;
                let operation = format!("{} ({})", launch.kernel(), launch.describe());
                checked.download(&one.tensor);
                seen.push((one, Some(operation)));
            }
        }
    }
    let made = engine.run(&checked)?;
    for (host, (one, operation)) in made.iter().zip(seen) {
        let values = host.to_f32()?;
        if let Some(index) = values.iter().position(|value| !value.is_finite()) {
            return Ok(Some(Origin {
                tensor: one.name.clone(),
                operation,
                index,
                value: values[index],
            }));
        }
    }
    Ok(None)
}
