//! Device memory of training: what is counted from shapes beside what the engine holds.

/// Bytes on the device, by what they are for. All but `placed` and `device` are counted from shapes and types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrainingMemory {
    /// f32 values of parameters, and of running statistics twice: as they are, and as they were before a step.
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
    /// Of these, the inputs.
    pub evaluation_inputs: u64,
    /// Intermediates of a step and of a pass of evaluation as their plans place them: those that are not needed at the
    /// same time lie in the same memory.
    pub placed: u64,
    /// What the engine holds, memory that waits for reuse included. It gives none back while it trains, so this is
    /// also the most that it held. `None` where nothing is on a device.
    pub device: Option<u64>,
}

impl TrainingMemory {
    /// What stays, inputs, and intermediates where their plans place them: what the device should hold.
    pub const fn needed(&self) -> u64 {
        self.parameters
            + self.copies
            + self.state
            + self.batch
            + self.evaluation_inputs
            + self.placed
    }

    /// Everything that is counted, each result in memory of its own.
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
