//! What a layer costs.

/// A layer of a network, with what it costs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerSummary {
    /// Its index and kind.
    pub name: String,
    /// Shape of one sample behind it.
    pub output: Vec<usize>,
    /// Elements of its parameters.
    pub parameters: usize,
    /// Products of a weight and a value, each with its addition, for one sample. Biases, normalization,
    /// activations and pooling are not counted, as is usual.
    pub multiply_adds: u64,
}
