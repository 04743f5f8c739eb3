//! Gradient checkpointing: a part of a network of which only inputs and output are kept.

use std::fmt;
use std::rc::Rc;

use crate::kernels::FloatType;
use crate::ops::OpError;
use crate::record::{Recording, Tensor};

use super::tape::{Backward, Tape, Var};

/// Records a part of a network: its inputs on a tape, its output.
type Forward = Rc<dyn Fn(&mut Tape, &[Var]) -> Result<Var, OpError>>;

/// An input: its value, its 16-bit copy, and the type of its gradient.
type Input = (Tensor, Option<Tensor>, FloatType);

struct Segment {
    inputs: Vec<Input>,
    forward: Forward,
    storage: FloatType,
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Segment")
            .field("inputs", &self.inputs)
            .finish_non_exhaustive()
    }
}

impl Tape {
    /// Records `forward` on `inputs`, which must name everything it uses, parameters too, and keeps none of
    /// what it makes but its result: the backward pass records it once more.
    ///
    /// # Errors
    /// What `forward` says.
    pub fn segment(
        &mut self,
        inputs: &[Var],
        forward: impl Fn(&mut Tape, &[Var]) -> Result<Var, OpError> + 'static,
    ) -> Result<Var, OpError> {
        let segment = Segment {
            inputs: inputs
                .iter()
                .map(|&input| {
                    let (value, copy) = (self.value(input).clone(), self.copy(input).cloned());
                    (value, copy, self.gradient_storage(input))
                })
                .collect(),
            forward: Rc::new(forward),
            storage: self.storage(),
        };
        // Within a segment that is recorded once more this is not the first pass either.
        let is_again = self.is_again();
        // No way back is needed from this pass, so nothing in it is a parameter.
        let wanted = vec![false; inputs.len()];
        let value = segment.record(self.recording(), &wanted, is_again, |tape, _, output| {
            Ok(tape.value(output).clone())
        })?;
        Ok(self.push(value, inputs, Box::new(segment)))
    }
}

impl Segment {
    /// Records the segment on a tape of its own that goes on with `recording`, and what `then` makes of that
    /// tape, the inputs on it and the output.
    fn record<T>(
        &self,
        recording: &mut Recording,
        wanted: &[bool],
        is_again: bool,
        then: impl FnOnce(&mut Tape, &[Var], Var) -> Result<T, OpError>,
    ) -> Result<T, OpError> {
        let mut tape = Tape::over(std::mem::take(recording)).with_storage(self.storage);
        if is_again {
            tape = tape.again();
        }
        let mut inputs = Vec::with_capacity(self.inputs.len());
        for ((tensor, copy, gradient), &wanted) in self.inputs.iter().zip(wanted) {
            let input = if wanted {
                tape.parameter(tensor)
            } else {
                tape.constant(tensor)
            };
            tape.take_over(input, copy.clone(), *gradient);
            inputs.push(input);
        }
        let result =
            (self.forward)(&mut tape, &inputs).and_then(|output| then(&mut tape, &inputs, output));
        // Also after an error: what was recorded before is the caller's.
        *recording = tape.into_recording();
        result
    }
}

impl Backward for Segment {
    fn backward(
        &self,
        recording: &mut Recording,
        gradient: &Tensor,
        wanted: &[bool],
    ) -> Result<Vec<Option<Tensor>>, OpError> {
        self.record(recording, wanted, true, |tape, inputs, output| {
            let gradients = tape.backward(&[(output, gradient)])?;
            Ok(inputs
                .iter()
                .map(|&input| gradients.get(input).cloned())
                .collect())
        })
    }
}
