//! Attention: the gradients of queries, keys and values from the logarithms that the forward pass kept.

use crate::ops::{OpError, nn};
use crate::record::{Recording, Tensor};

use super::tape::{Backward, Tape, Var};

#[derive(Debug)]
struct Attention {
    q: Tensor,
    k: Tensor,
    v: Tensor,
    attended: nn::Attended,
    options: nn::AttentionOptions,
}

impl Tape {
    /// Scaled dot-product attention of q over k and v; the result is stored as the tape says, whatever the
    /// options do.
    ///
    /// # Errors
    /// [`OpError`] as [`nn::attention`].
    pub fn attention(
        &mut self,
        [q, k, v]: [Var; 3],
        options: &nn::AttentionOptions,
    ) -> Result<Var, OpError> {
        let tensors = [q, k, v].map(|var| self.value(var).clone());
        let options = nn::AttentionOptions {
            out: self.storage(),
            ..options.clone()
        };
        let heads = nn::Heads {
            q: &tensors[0],
            k: &tensors[1],
            v: &tensors[2],
        };
        let attended = nn::attention(self.recording(), heads, &options)?;
        let out = attended.out.clone();
        let [q_value, k_value, v_value] = tensors;
        let backward = Attention {
            q: q_value,
            k: k_value,
            v: v_value,
            attended,
            options,
        };
        Ok(self.push(out, &[q, k, v], Box::new(backward)))
    }
}

impl Backward for Attention {
    fn backward(
        &self,
        recording: &mut Recording,
        gradient: &Tensor,
        wanted: &[bool],
    ) -> Result<Vec<Option<Tensor>>, OpError> {
        let heads = nn::Heads {
            q: &self.q,
            k: &self.k,
            v: &self.v,
        };
        let wanted = nn::WantedHeads {
            queries: wanted[0],
            keys_and_values: wanted[1] || wanted[2],
        };
        let known = (&self.attended, gradient);
        let made = nn::attention_backward(recording, heads, known, wanted, &self.options)?;
        Ok(vec![made.q, made.k, made.v])
    }
}
