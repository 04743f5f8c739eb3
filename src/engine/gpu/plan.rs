//! A plan: pipelines compiled, bind groups made, intermediates placed by lifetime in shared buffers.
//! Replaying it writes the inputs, encodes one pass, submits once, and reads the outputs back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use crate::engine::{EngineError, Plan, check_inputs, split_uploads};
use crate::record::{Access, Buffer, BufferId, Command, Recording, Tensor};
use crate::tensor::HostTensor;

use super::encode::{Encoding, Ready, bind};
use super::lower::{Step, lower};
use super::pipelines::Request;
use super::readback::{Staging, collect};
use super::uniforms::Uniforms;
use super::{Shared, State};

#[derive(Debug)]
enum Action {
    Dispatch(Ready),
    /// Copy to the staging buffer of this index.
    Copy(wgpu::Buffer, usize),
}

/// See [`crate::engine::Plan`].
pub(super) struct GpuPlan {
    shared: Arc<Shared>,
    inputs: Vec<Tensor>,
    input_buffers: Vec<wgpu::Buffer>,
    actions: Vec<Action>,
    /// Readback buffers; the lock also keeps two replays from mixing.
    staging: Mutex<Vec<Staging>>,
    /// Memory of the intermediates, given back when the plan is dropped.
    slots: Vec<wgpu::Buffer>,
    /// Resident buffers it uses.
    pinned: BTreeSet<BufferId>,
    /// Keeps resident buffers from being swept while the plan lives.
    _recording: Recording,
    _uniforms: Uniforms,
}

/// First and last command that touches each intermediate, by buffer.
type Lifetimes = BTreeMap<BufferId, (usize, usize, Buffer)>;

impl GpuPlan {
    pub(super) fn new(shared: &Arc<Shared>, recording: &Recording) -> Result<Self, EngineError> {
        let mut state = shared.lock();
        state.memory.sweep();
        for input in recording.inputs() {
            state.memory.ensure(&shared.open, input.buffer())?;
        }
        let (uploads, replayed) = split_uploads(recording)?;
        for command in uploads.commands() {
            if let Command::Upload { buffer, words } = command {
                state.memory.fill(&shared.open, buffer, words)?;
            }
        }
        let lifetimes = lifetimes(&replayed, |buffer| state.memory.get(buffer).is_some())?;
        let placed = place(&lifetimes);
        let mut owners = Vec::new();
        let built = Self::build(
            shared,
            &mut state,
            (recording, &replayed),
            &placed,
            &mut owners,
        );
        if built.is_err() {
            owners
                .into_iter()
                .for_each(|owner| state.memory.give(owner));
        }
        built
    }

    /// Takes memory for the intermediates into `owners`, and makes everything a replay needs.
    fn build(
        shared: &Arc<Shared>,
        state: &mut State,
        (recording, replayed): (&Recording, &Recording),
        placed: &Slots,
        owners: &mut Vec<wgpu::Buffer>,
    ) -> Result<Self, EngineError> {
        for bytes in &placed.bytes {
            owners.push(state.memory.take(&shared.open, *bytes)?);
        }
        let owners = &*owners;
        let buffer_of = |state: &State, buffer: &Buffer| match placed.of.get(&buffer.id()) {
            Some(&slot) => Some(owners[slot].clone()),
            None => state.memory.get(buffer).cloned(),
        };

        let mut lowered: Vec<(usize, Step)> = Vec::new();
        for (index, command) in replayed.commands().iter().enumerate() {
            if let Command::Dispatch(dispatch) = command {
                let steps = lower(
                    dispatch,
                    &shared.choices(),
                    shared.open.capabilities(),
                    shared.build(),
                )?;
                lowered.extend(steps.into_iter().map(|step| (index, step)));
            }
        }
        let requests: Vec<Request> = lowered
            .iter()
            .map(|(_, step)| step.request.clone())
            .collect();
        let pipelines = state
            .pipelines
            .get_all(&shared.open, &shared.sources, &requests)?;
        let steps: Vec<&Step> = lowered.iter().map(|(_, step)| step).collect();
        let uniforms = Uniforms::fixed(&shared.open, &steps)?;

        let mut actions = Vec::new();
        let mut staging = Vec::new();
        let mut next = 0;
        for (index, command) in replayed.commands().iter().enumerate() {
            match command {
                Command::Dispatch(dispatch) => {
                    while next < lowered.len() && lowered[next].0 == index {
                        let step = &lowered[next].1;
                        let buffers =
                            dispatch_buffers(dispatch, |buffer| buffer_of(state, buffer))?;
                        let slice = (&uniforms.buffer, uniforms.offset(next));
                        let ready = shared.open.scoped(|| {
                            Ok(bind(
                                &shared.open,
                                step,
                                &pipelines[next],
                                slice,
                                |binding| buffers[&binding].clone(),
                            ))
                        })?;
                        shared.counters.bind_groups.fetch_add(1, Ordering::Relaxed);
                        actions.push(Action::Dispatch(ready));
                        next += 1;
                    }
                }
                Command::Download(tensor) => {
                    let source = buffer_of(state, tensor.buffer()).ok_or_else(|| {
                        EngineError::Uninitialized {
                            what: "download".to_owned(),
                        }
                    })?;
                    actions.push(Action::Copy(source, staging.len()));
                    staging.push(Staging::new(&shared.open, tensor)?);
                }
                Command::Upload { .. } | Command::Free(_) => {}
            }
        }
        let input_buffers = recording
            .inputs()
            .iter()
            .filter_map(|input| state.memory.get(input.buffer()).cloned())
            .collect();
        // A `Free` in some other recording must not hand this plan's memory to others.
        let mut pinned = BTreeSet::new();
        for command in replayed.commands() {
            match command {
                Command::Dispatch(dispatch) => {
                    pinned.extend(dispatch.bindings.iter().map(|binding| binding.buffer.id()));
                }
                Command::Download(tensor) => {
                    pinned.insert(tensor.buffer().id());
                }
                Command::Upload { .. } | Command::Free(_) => {}
            }
        }
        pinned.extend(recording.inputs().iter().map(|input| input.buffer().id()));
        pinned.retain(|id| !placed.of.contains_key(id));
        pinned.iter().for_each(|&id| state.memory.pin(id));
        Ok(Self {
            shared: Arc::clone(shared),
            inputs: recording.inputs().to_vec(),
            input_buffers,
            actions,
            staging: Mutex::new(staging),
            slots: owners.to_vec(),
            pinned,
            _recording: recording.clone(),
            _uniforms: uniforms,
        })
    }

    fn replay(
        &self,
        inputs: &[HostTensor],
        staging: &[Staging],
    ) -> Result<Vec<HostTensor>, EngineError> {
        let open = &self.shared.open;
        // Plans may share inputs and resident tensors: from the first write to the last submit, one
        // plan at a time.
        let state = self.shared.lock();
        let submits = open.scoped(|| {
            for (buffer, host) in self.input_buffers.iter().zip(inputs) {
                // Whole words go as they are; a tail is padded to one.
                let bytes = host.bytes();
                if cfg!(target_endian = "little") && bytes.len().is_multiple_of(4) {
                    open.queue.write_buffer(buffer, 0, bytes);
                } else {
                    let words = host.words();
                    open.queue
                        .write_buffer(buffer, 0, bytemuck::cast_slice(&words));
                }
            }
            let mut encoding = Encoding::new(open, self.shared.submit_budget);
            for action in &self.actions {
                match action {
                    Action::Dispatch(ready) => encoding.dispatch(ready),
                    Action::Copy(from, index) => {
                        let to = &staging[*index].buffer;
                        encoding.copy(from, to, to.size());
                    }
                }
            }
            Ok(encoding.submit())
        })?;
        drop(state);
        self.shared
            .counters
            .submits
            .fetch_add(submits, Ordering::Relaxed);
        pollster::block_on(collect(open, staging))
    }
}

impl Plan for GpuPlan {
    fn run(&self, inputs: &[HostTensor]) -> Result<Vec<HostTensor>, EngineError> {
        check_inputs(&self.inputs, inputs)?;
        let staging = self.staging.lock().unwrap_or_else(PoisonError::into_inner);
        self.replay(inputs, &staging)
    }

    fn intermediate_bytes(&self) -> u64 {
        self.slots.iter().map(wgpu::Buffer::size).sum()
    }
}

impl Drop for GpuPlan {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        for slot in self.slots.drain(..) {
            state.memory.give(slot);
        }
        for &id in &self.pinned {
            state.memory.unpin(id);
        }
    }
}

/// Device buffers of a dispatch by binding number.
pub(super) fn dispatch_buffers(
    dispatch: &crate::record::Dispatch,
    buffer_of: impl Fn(&Buffer) -> Option<wgpu::Buffer>,
) -> Result<BTreeMap<u32, wgpu::Buffer>, EngineError> {
    let mut buffers = BTreeMap::new();
    for binding in &dispatch.bindings {
        let found = buffer_of(&binding.buffer).ok_or_else(|| EngineError::Uninitialized {
            what: format!(
                "{} ({}), binding {}",
                dispatch.launch.kernel(),
                dispatch.launch.describe(),
                binding.binding
            ),
        })?;
        buffers.insert(binding.binding, found);
    }
    Ok(buffers)
}

/// Intermediates are buffers that nothing but the recording's own dispatches fills.
fn lifetimes(
    recording: &Recording,
    is_resident: impl Fn(&Buffer) -> bool,
) -> Result<Lifetimes, EngineError> {
    let mut lifetimes = Lifetimes::new();
    for (index, command) in recording.commands().iter().enumerate() {
        match command {
            Command::Dispatch(dispatch) => {
                for binding in &dispatch.bindings {
                    if is_resident(&binding.buffer) {
                        continue;
                    }
                    let known = lifetimes.contains_key(&binding.buffer.id());
                    if !known && binding.access != Access::Write {
                        let (kernel, shape) =
                            (dispatch.launch.kernel(), dispatch.launch.describe());
                        let what = format!("{kernel} ({shape}), binding {}", binding.binding);
                        return Err(EngineError::Uninitialized { what });
                    }
                    extend(&mut lifetimes, index, &binding.buffer);
                }
            }
            Command::Download(tensor) if !is_resident(tensor.buffer()) => {
                if !lifetimes.contains_key(&tensor.buffer().id()) {
                    return Err(EngineError::Uninitialized {
                        what: "download".to_owned(),
                    });
                }
                extend(&mut lifetimes, index, tensor.buffer());
            }
            Command::Download(_) | Command::Upload { .. } | Command::Free(_) => {}
        }
    }
    Ok(lifetimes)
}

fn extend(lifetimes: &mut Lifetimes, index: usize, buffer: &Buffer) {
    lifetimes
        .entry(buffer.id())
        .or_insert_with(|| (index, index, buffer.clone()))
        .1 = index;
}

/// Shared buffers: the slot of each intermediate and each slot's size.
#[derive(Debug, Default)]
struct Slots {
    of: BTreeMap<BufferId, usize>,
    bytes: Vec<u64>,
}

/// Places the largest intermediates first, each in the first slot that is free for its lifetime. A slot
/// is a whole buffer: the API forbids reading and writing one buffer in the same dispatch.
fn place(lifetimes: &Lifetimes) -> Slots {
    let mut order: Vec<&(usize, usize, Buffer)> = lifetimes.values().collect();
    order
        .sort_by_key(|(first, _, buffer)| (std::cmp::Reverse(buffer.bytes()), *first, buffer.id()));
    let mut slots = Slots::default();
    let mut busy: Vec<BTreeSet<(usize, usize)>> = Vec::new();
    for (first, last, buffer) in order {
        let free = busy
            .iter()
            .position(|taken| taken.iter().all(|(from, to)| last < from || first > to));
        let slot = free.unwrap_or_else(|| {
            busy.push(BTreeSet::new());
            slots.bytes.push(0);
            busy.len() - 1
        });
        busy[slot].insert((*first, *last));
        slots.bytes[slot] = slots.bytes[slot].max(buffer.bytes());
        slots.of.insert(buffer.id(), slot);
    }
    slots
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lifetime(first: usize, last: usize, bytes: u64) -> (BufferId, (usize, usize, Buffer)) {
        let buffer = Buffer::new(bytes);
        (buffer.id(), (first, last, buffer))
    }

    #[test]
    fn intermediates_share_a_slot_only_when_their_lifetimes_are_apart() {
        let lifetimes: Lifetimes =
            [lifetime(0, 1, 64), lifetime(1, 2, 64), lifetime(2, 3, 32)].into();
        let slots = place(&lifetimes);
        assert_eq!(slots.bytes.iter().sum::<u64>(), 128);
        let of: Vec<usize> = lifetimes.keys().map(|id| slots.of[id]).collect();
        assert_eq!(of[0], of[2]);
        assert_ne!(of[0], of[1]);
    }
}
