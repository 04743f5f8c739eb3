//! The kernel call that a command line asks for: a name, extents and formats.

use std::sync::Arc;

use lapidary::kernels::{Workload, WorkloadError};
use lapidary::record::Launch;

use crate::options::Failure;
use crate::verify::selected;

/// The launch of a kernel's name, a shape and a format. A shape the kernel cannot serve is a missed target,
/// anything not understood is bad usage.
pub fn launch(name: &str, shape: &str, format: &str) -> Result<Arc<dyn Launch>, Failure> {
    let named = selected(&[name.to_owned()])?;
    let Some(kernel) = named.iter().find(|kernel| kernel.name == name) else {
        let names: Vec<&str> = named.iter().map(|kernel| kernel.name).collect();
        return Err(Failure::Usage(format!(
            "`{name}` is a family of kernels; name one of {}",
            names.join(", ")
        )));
    };
    Workload::new(kernel.name, shape, format)
        .launch(kernel.workload)
        .map_err(|error| match error {
            WorkloadError::Shape(_) => Failure::Mismatch(error.to_string()),
            WorkloadError::Extents { .. } | WorkloadError::Word { .. } => {
                Failure::Usage(error.to_string())
            }
        })
}
