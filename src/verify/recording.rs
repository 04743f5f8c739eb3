//! Any recording, dispatch by dispatch: the adapter's result against the reference on the adapter's own
//! inputs, so that the first dispatch that is wrong can be named, whatever came of it later.

use crate::engine::{Engine, EngineError};
use crate::record::{
    Access, Binding, Bound, Command, Comparison, Dispatch, HostOperands, Recording, Tensor, compare,
};
use crate::tensor::{DType, HostTensor};

/// How one dispatch compares.
#[derive(Debug, Clone)]
pub struct DispatchReport {
    /// Position among the recording's dispatches.
    pub index: usize,
    /// Kernel name.
    pub kernel: &'static str,
    /// Shape and formats.
    pub shape: String,
    /// The outcome over all outputs.
    pub comparison: Comparison,
    /// Allowed errors, in the order of the launch's outputs.
    pub bounds: Vec<Bound>,
}

/// Runs a recording on `engine` and judges every dispatch on the inputs it had there. All operands are
/// read back, so this takes host memory for every intermediate.
///
/// # Errors
/// As [`Engine::run`].
pub fn compare_recording(
    engine: &dyn Engine,
    recording: &Recording,
) -> Result<Vec<DispatchReport>, EngineError> {
    let mut instrumented = Recording::new();
    for command in recording.commands() {
        match command {
            Command::Dispatch(dispatch) => {
                watch(&mut instrumented, dispatch, Access::Write);
                instrumented.append(command);
                watch(&mut instrumented, dispatch, Access::Read);
            }
            // The caller's own downloads are not needed here.
            Command::Download(_) => {}
            Command::Upload { .. } | Command::Free(_) => instrumented.append(command),
        }
    }
    let mut downloads = engine.run(&instrumented)?.into_iter();
    let mut reports = Vec::new();
    for (index, dispatch) in recording.dispatches().enumerate() {
        let before = take(&mut downloads, dispatch, Access::Write);
        let after = take(&mut downloads, dispatch, Access::Read);
        reports.push(judge(index, dispatch, &before, &after));
    }
    Ok(reports)
}

/// Operands worth reading back: inputs before a dispatch, outputs after it.
fn watched(dispatch: &Dispatch, except: Access) -> impl Iterator<Item = &Binding> {
    dispatch
        .bindings
        .iter()
        .filter(move |binding| binding.access != except)
}

fn watch(recording: &mut Recording, dispatch: &Dispatch, except: Access) {
    for binding in watched(dispatch, except) {
        let words = (binding.buffer.bytes() / 4) as usize;
        recording.download(&Tensor::of_buffer(
            binding.buffer.clone(),
            DType::U32,
            &[words],
        ));
    }
}

fn take(
    downloads: &mut impl Iterator<Item = HostTensor>,
    dispatch: &Dispatch,
    except: Access,
) -> Vec<(u32, Vec<u32>)> {
    watched(dispatch, except)
        .filter_map(|binding| downloads.next().map(|host| (binding.binding, host.words())))
        .collect()
}

fn judge(
    index: usize,
    dispatch: &Dispatch,
    before: &[(u32, Vec<u32>)],
    after: &[(u32, Vec<u32>)],
) -> DispatchReport {
    let mut operands = HostOperands::default();
    // A definition keeps what its launch does not cover, such as the other parts of a tensor that several launches put
    // together: that is as it was found, and equal.
    for (binding, words) in after.iter().chain(before) {
        operands.insert(*binding, words);
    }
    let launch = dispatch.launch.as_ref();
    let bounds = launch.bound(&operands);
    let mut comparison = Comparison::default();
    let outputs = launch.reference(&operands);
    assert_eq!(
        outputs.len(),
        bounds.len(),
        "{}: a bound for each output",
        launch.kernel()
    );
    for (output, bound) in outputs.iter().zip(&bounds) {
        let written = after.iter().find(|(binding, _)| *binding == output.binding);
        let (_, words) = written.unwrap_or_else(|| {
            panic!("{}: no slot for output {}", launch.kernel(), output.binding)
        });
        comparison.merge(compare(output, bound, words));
    }
    DispatchReport {
        index,
        kernel: launch.kernel(),
        shape: launch.describe(),
        comparison,
        bounds,
    }
}
