//! Device memory of training: what is counted from shapes beside what the engine holds.

/// Bytes on the device, by what they are for. All but `device` are counted from shapes and types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrainingMemory {
    /// f32 values of parameters and running statistics.
    pub parameters: u64,
    /// 16-bit copies of weights.
    pub copies: u64,
    /// The optimizer's state.
    pub state: u64,
    /// Gradients of the parameters; twice when those of micro-batches are added.
    pub gradients: u64,
    /// Results of the forward pass, which the backward pass reads.
    pub activations: u64,
    /// Inputs of a step.
    pub batch: u64,
    /// Inputs and results of a pass of evaluation.
    pub evaluation: u64,
    /// What the engine holds, memory that waits for reuse included. It gives none back while it trains, so this is
    /// also the most that it held. `None` where nothing is on a device.
    pub device: Option<u64>,
}

impl TrainingMemory {
    /// Everything that is counted.
    pub const fn counted(&self) -> u64 {
        self.parameters
            + self.copies
            + self.state
            + self.gradients
            + self.activations
            + self.batch
            + self.evaluation
    }
}
