//! Shape errors: what a kernel refuses before anything is recorded.

use thiserror::Error;

/// A shape or format a kernel cannot serve.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
pub enum ShapeError {
    /// An extent of zero.
    #[error("{kernel}: {name} is 0, at least 1 is needed")]
    Zero {
        /// Kernel name.
        kernel: &'static str,
        /// Which extent.
        name: &'static str,
    },
    /// An extent that must be a multiple of something.
    #[error("{kernel}: {name} = {value} is not a multiple of {of} {multiple}")]
    NotMultiple {
        /// Kernel name.
        kernel: &'static str,
        /// Which extent.
        name: &'static str,
        /// Its value.
        value: u64,
        /// What the multiple is, for example `group_size`.
        of: &'static str,
        /// The multiple.
        multiple: u64,
    },
    /// An extent past what the kernel's integers hold.
    #[error("{kernel}: {name} = {value} is over the limit of {limit} ({reason})")]
    TooLarge {
        /// Kernel name.
        kernel: &'static str,
        /// Which extent.
        name: &'static str,
        /// Its value.
        value: u64,
        /// Largest value allowed.
        limit: u64,
        /// Why.
        reason: &'static str,
    },
    /// A format the kernel has no path for.
    #[error("{kernel}: {name} is {value}; allowed: {allowed}")]
    Unsupported {
        /// Kernel name.
        kernel: &'static str,
        /// Which property.
        name: &'static str,
        /// Its value.
        value: String,
        /// What is allowed.
        allowed: &'static str,
    },
}

/// The class of shapes an extent belongs to: itself up to 8, which have variants of their own; else the
/// next power of two, with the largest run of 4, 8 or 32 elements that divides it.
pub(super) fn extent_class(extent: u32) -> String {
    if extent <= 8 {
        return extent.to_string();
    }
    let run = [32, 8, 4]
        .into_iter()
        .find(|&run| extent.is_multiple_of(run));
    let up_to = u64::from(extent).next_power_of_two();
    match run {
        Some(run) => format!("<={up_to}/{run}"),
        None => format!("<={up_to}"),
    }
}

/// A smaller extent of the same class as far as variants can tell: itself up to `most`, which is a
/// multiple of 32 plus what remains of `extent` over 32.
pub(super) const fn reduced_extent(extent: u32, most: u32) -> u32 {
    if extent <= most + 31 {
        extent
    } else {
        most + extent % 32
    }
}

/// Refuses extents of zero and products that a 32-bit index cannot hold.
pub(super) fn check_extents(
    kernel: &'static str,
    extents: &[(&'static str, u64)],
) -> Result<(), ShapeError> {
    match extents.iter().find(|(_, value)| *value == 0) {
        Some((name, _)) => Err(ShapeError::Zero { kernel, name }),
        None => Ok(()),
    }
}

/// Refuses more elements than a 32-bit index holds.
pub(super) fn check_index(
    kernel: &'static str,
    name: &'static str,
    elements: u64,
) -> Result<(), ShapeError> {
    let limit = u64::from(u32::MAX);
    if elements > limit {
        return Err(ShapeError::TooLarge {
            kernel,
            name,
            value: elements,
            limit,
            reason: "32-bit indices",
        });
    }
    Ok(())
}

/// Refuses a value that is not a multiple.
pub(super) fn check_multiple(
    kernel: &'static str,
    (name, value): (&'static str, u64),
    (of, multiple): (&'static str, u64),
) -> Result<(), ShapeError> {
    if multiple == 0 || !value.is_multiple_of(multiple) {
        return Err(ShapeError::NotMultiple {
            kernel,
            name,
            value,
            of,
            multiple,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::extent_class;

    #[test]
    fn extents_of_one_class_have_the_same_size_and_alignment() {
        assert_eq!(extent_class(1), "1");
        assert_eq!(extent_class(8), "8");
        assert_eq!(extent_class(9), "<=16");
        assert_eq!(extent_class(576), "<=1024/32");
        assert_eq!(extent_class(1024), "<=1024/32");
        assert_eq!(extent_class(1020), "<=1024/4");
        assert_eq!(extent_class(u32::MAX), "<=4294967296");
    }
}
