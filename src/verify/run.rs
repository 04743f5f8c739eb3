//! One case on one variant: guarded buffers, three runs, and the comparison.

use std::sync::Arc;

use crate::engine::{Engine, EngineError, GpuEngine};
use crate::kernels::Judge;
use crate::record::{Access, Bound, Buffer, Build, Comparison, Pin, Recording, Tensor, compare};
use crate::shader::{Edit, Variant};
use crate::tensor::{DType, HostTensor};

use super::Prepared;

/// Words behind every operand that must stay as they are.
const GUARD_WORDS: usize = 64;

/// Not a number as f32, as two f16 and as two bf16: what an output holds before the run, and what lies
/// behind every operand.
const POISON: u32 = 0x7fff_7fff;

/// What one case showed.
pub(super) struct Verdict {
    pub comparison: Comparison,
    pub failure: Option<String>,
}

/// One run's outputs: binding and words, guard included.
type Outputs = Vec<(u32, Vec<u32>)>;

pub(super) fn run_case(
    engine: &GpuEngine,
    one: &Prepared,
    variant: &Variant,
    edits: &[Edit],
) -> Result<Verdict, EngineError> {
    let first = Pin {
        variant: variant.clone(),
        edits: edits.to_vec(),
        build: Build::Trusted,
    };
    let checked = Pin {
        build: Build::Checked,
        ..first.clone()
    };
    // Edited shaders always keep the checks, so a third build of them would tell nothing new.
    let pins = if edits.is_empty() {
        vec![first.clone(), first, checked]
    } else {
        vec![first.clone(), first]
    };
    judge_runs(engine, one, &pins)
}

/// Two runs of the build that is used.
pub(super) fn run_trusted(
    engine: &GpuEngine,
    one: &Prepared,
    variant: &Variant,
) -> Result<Verdict, EngineError> {
    let pin = Pin {
        variant: variant.clone(),
        edits: Vec::new(),
        build: Build::Trusted,
    };
    judge_runs(engine, one, &[pin.clone(), pin])
}

fn judge_runs(engine: &GpuEngine, one: &Prepared, pins: &[Pin]) -> Result<Verdict, EngineError> {
    let runs = run_pins(engine, one, pins)?;
    let comparison = compare_outputs(one, &runs[0]);
    let failure = if let Some(why) = broken_guard(one, &runs) {
        Some(why)
    } else if !comparison.passed() {
        let bitwise = one.case.judge == Judge::Bitwise;
        let place = comparison.place.as_ref().map_or_else(String::new, |place| {
            format!(
                "element {} is {:e}, reference {:e}",
                place.index, place.got, place.expected
            )
        });
        Some(format!(
            "{} ({place})",
            if bitwise {
                "bits differ"
            } else {
                "error over bound"
            }
        ))
    } else if runs[0] != runs[1] {
        Some("two runs gave different bits".to_owned())
    } else if runs.last() != runs.first() {
        Some("the build with runtime checks gave different bits".to_owned())
    } else {
        None
    };
    Ok(Verdict {
        comparison,
        failure,
    })
}

fn run_pins(engine: &GpuEngine, one: &Prepared, pins: &[Pin]) -> Result<Vec<Outputs>, EngineError> {
    let mut recording = Recording::new();
    let slots = one.case.launch.slots();
    let mut shared: Vec<(u32, Buffer)> = Vec::new();
    for slot in slots.iter().filter(|slot| slot.access == Access::Read) {
        let words = operand_words(one, slot.binding, slot.bytes);
        let buffer = Buffer::new(4 * words.len() as u64);
        recording.upload_words(&buffer, words)?;
        shared.push((slot.binding, buffer));
    }
    let mut written: Vec<u32> = Vec::new();
    for pin in pins {
        let mut buffers: Vec<(u32, Buffer)> = shared.clone();
        let mut outputs = Vec::new();
        for slot in slots.iter().filter(|slot| slot.access != Access::Read) {
            let words = match slot.access {
                Access::ReadWrite => operand_words(one, slot.binding, slot.bytes),
                Access::Read | Access::Write => poisoned(slot.bytes),
            };
            let tensor = Tensor::new(DType::U32, &[words.len()]);
            recording.upload_words(tensor.buffer(), words)?;
            buffers.push((slot.binding, tensor.buffer().clone()));
            outputs.push((slot.binding, tensor));
        }
        let bound: Vec<(u32, &Buffer)> = buffers
            .iter()
            .map(|(binding, buffer)| (*binding, buffer))
            .collect();
        recording.dispatch_pinned(Arc::clone(&one.case.launch), &bound, pin.clone())?;
        for (binding, tensor) in outputs {
            recording.download(&tensor);
            written.push(binding);
        }
    }
    let downloads: Vec<HostTensor> = engine.run(&recording)?;
    let per_run = written.len() / pins.len().max(1);
    let words: Vec<(u32, Vec<u32>)> = written
        .into_iter()
        .zip(downloads.iter().map(HostTensor::words))
        .collect();
    Ok(words.chunks(per_run.max(1)).map(<[_]>::to_vec).collect())
}

/// Words an operand of `bytes` bytes occupies, its guard included.
fn guarded_len(bytes: u64) -> usize {
    (bytes.div_ceil(16) * 4) as usize + GUARD_WORDS
}

fn poisoned(bytes: u64) -> Vec<u32> {
    vec![POISON; guarded_len(bytes)]
}

/// The case's operand followed by poison, so that reading past its end shows.
fn operand_words(one: &Prepared, binding: u32, bytes: u64) -> Vec<u32> {
    let mut words = poisoned(bytes);
    if let Some((_, given)) = one
        .case
        .operands
        .iter()
        .find(|(other, _)| *other == binding)
    {
        words[..given.len()].copy_from_slice(given);
    }
    words
}

fn compare_outputs(one: &Prepared, outputs: &Outputs) -> Comparison {
    let mut total = Comparison::default();
    assert_eq!(
        one.outputs.len(),
        one.bounds.len(),
        "{}: a bound for each output",
        one.case.name
    );
    for (output, bound) in one.outputs.iter().zip(&one.bounds) {
        let written = outputs
            .iter()
            .find(|(binding, _)| *binding == output.binding);
        let (_, words) = written
            .unwrap_or_else(|| panic!("{}: no slot for output {}", one.case.name, output.binding));
        let exact = Bound::Exact;
        let bound = if one.case.judge == Judge::Bitwise {
            &exact
        } else {
            bound
        };
        total.merge(compare(output, bound, words));
    }
    assert!(
        total.elements > 0,
        "{}: nothing was compared",
        one.case.name
    );
    total
}

fn broken_guard(one: &Prepared, runs: &[Outputs]) -> Option<String> {
    for slot in one
        .case
        .launch
        .slots()
        .iter()
        .filter(|slot| slot.access != Access::Read)
    {
        let end = slot.bytes.div_ceil(4) as usize;
        for (_, words) in runs
            .iter()
            .flatten()
            .filter(|(binding, _)| *binding == slot.binding)
        {
            if let Some(at) = words[end..].iter().position(|&word| word != POISON) {
                return Some(format!(
                    "`{}` was written {at} words past its end",
                    slot.name
                ));
            }
        }
    }
    None
}
