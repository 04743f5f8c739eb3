//! Labels and tokens: u32 numbers that are all below a limit, checked where they come from the caller.

use crate::record::{Recording, Tensor};
use crate::tensor::DType;

use super::super::{OpError, check_type, extent};

/// A u32 tensor of any shape whose values are below a limit: classes of a loss, rows of a table.
///
/// Shaders read nothing for an index past the limit, so what a plan is given unchecked does no harm to
/// memory; it is a wrong label all the same, and [`Self::check`] says which.
#[derive(Debug, Clone)]
pub struct Indices {
    tensor: Tensor,
    what: &'static str,
    limit: u32,
}

impl Indices {
    /// Checks `values` and uploads them; `what` names them in errors, `limit` is the first value that is not
    /// allowed.
    ///
    /// # Errors
    /// [`OpError::Index`] for a value that is not below the limit, [`OpError::Shape`] when their number is not
    /// that of the shape.
    pub fn upload(
        recording: &mut Recording,
        what: &'static str,
        shape: &[usize],
        (values, limit): (&[u32], usize),
    ) -> Result<Self, OpError> {
        let limit = extent("indices", what, limit)?;
        let tensor = recording.tensor(DType::U32, shape);
        let indices = Self {
            tensor,
            what,
            limit,
        };
        indices.check(values)?;
        recording.upload_words(indices.tensor.buffer(), values)?;
        Ok(indices)
    }

    /// Indices that the caller of a plan gives before each replay, after [`Self::check`].
    ///
    /// # Errors
    /// [`OpError::TooLarge`] for a limit past 32 bits.
    pub fn input(
        recording: &mut Recording,
        what: &'static str,
        shape: &[usize],
        limit: usize,
    ) -> Result<Self, OpError> {
        let limit = extent("indices", what, limit)?;
        Ok(Self {
            tensor: recording.input(DType::U32, shape),
            what,
            limit,
        })
    }

    /// Indices in a tensor whose values the caller has checked, or checks before each replay.
    ///
    /// # Errors
    /// [`OpError`] for a tensor that is not u32, and for a limit past 32 bits.
    pub fn of(tensor: &Tensor, what: &'static str, limit: usize) -> Result<Self, OpError> {
        check_type("indices", what, tensor, DType::U32)?;
        Ok(Self {
            tensor: tensor.clone(),
            what,
            limit: extent("indices", what, limit)?,
        })
    }

    /// Refuses values that these indices must not have.
    ///
    /// # Errors
    /// As [`Self::upload`].
    pub fn check(&self, values: &[u32]) -> Result<(), OpError> {
        if values.len() != self.tensor.len() {
            return Err(OpError::Shape {
                op: "indices",
                what: self.what,
                got: vec![values.len()],
                expected: format!("{:?}", self.tensor.shape()),
            });
        }
        match values.iter().position(|&value| value >= self.limit) {
            Some(at) => Err(OpError::Index {
                what: self.what,
                at,
                value: values[at],
                limit: self.limit,
            }),
            None => Ok(()),
        }
    }

    /// The tensor, u32.
    pub const fn tensor(&self) -> &Tensor {
        &self.tensor
    }

    /// The first value that is not allowed: how many classes or rows there are.
    pub const fn limit(&self) -> usize {
        self.limit as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_that_is_no_class_is_named_and_nothing_is_recorded() {
        let mut recording = Recording::new();
        let error = Indices::upload(&mut recording, "labels", &[3], (&[0, 9, 10], 10));
        let error = error.expect_err("10 is no class of 10");
        assert_eq!(error.to_string(), "labels[2] is 10, allowed: 0 to 9");
        assert!(recording.commands().is_empty());
        let error = Indices::upload(&mut recording, "labels", &[3], (&[0], 10));
        assert!(matches!(error, Err(OpError::Shape { what: "labels", .. })));
    }
}
