//! Sizes of shapes, by checked arithmetic.
//!
//! A shape lists dimensions from the slowest to the fastest; `[]` is a scalar of one element. The
//! product is taken with zero dimensions counted as one, so that whether a shape overflows does not
//! depend on the order of its dimensions and strides computed later cannot overflow either.

use super::{DType, TensorError};

/// The number of elements of `shape`, or `None` if the product of its non-zero dimensions
/// overflows.
pub fn n_elements(shape: &[usize]) -> Option<usize> {
    let product = shape
        .iter()
        .try_fold(1_usize, |product, &dim| product.checked_mul(dim.max(1)))?;
    Some(if shape.contains(&0) { 0 } else { product })
}

/// The number of bytes of a dense tensor of `dtype` and `shape`.
///
/// # Errors
/// [`TensorError::ShapeOverflow`] if the count does not fit the address space.
pub fn n_bytes(dtype: DType, shape: &[usize]) -> Result<usize, TensorError> {
    n_elements(shape)
        .and_then(|n| n.checked_mul(dtype.bytes()))
        .ok_or_else(|| TensorError::ShapeOverflow {
            dtype,
            shape: shape.to_vec(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scalar_has_one_element() {
        assert_eq!(n_elements(&[]), Some(1));
        assert_eq!(n_bytes(DType::BF16, &[]), Ok(2));
    }

    #[test]
    fn a_zero_dimension_empties_the_shape() {
        assert_eq!(n_elements(&[3, 0, 5]), Some(0));
    }

    #[test]
    fn overflow_does_not_depend_on_the_order_of_dimensions() {
        let huge = usize::MAX;
        assert_eq!(n_elements(&[0, huge, huge]), None);
        assert_eq!(n_elements(&[huge, huge, 0]), None);
        assert_eq!(n_elements(&[0, huge]), Some(0));
    }

    #[test]
    fn the_element_size_is_part_of_the_overflow_check() {
        let error = n_bytes(DType::F32, &[usize::MAX / 2]).unwrap_err();
        assert_eq!(
            error,
            TensorError::ShapeOverflow {
                dtype: DType::F32,
                shape: vec![usize::MAX / 2]
            }
        );
    }
}
