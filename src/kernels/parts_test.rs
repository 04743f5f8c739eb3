//! For unit tests: a launch cut into parts must make what the whole launch makes.

use crate::record::{HostOperands, Launch, padded_bytes};

/// Runs the references of the parts on their byte ranges and compares with the whole reference.
/// Outputs start as given in `operands`, else as a pattern. Returns the number of parts.
pub(super) fn check_parts(
    launch: &dyn Launch,
    operands: &[(u32, Vec<u32>)],
    max_bytes: u64,
    alignment: u64,
) -> usize {
    let memory: Vec<(u32, Vec<u32>)> = launch
        .slots()
        .iter()
        .map(|slot| {
            let given = operands
                .iter()
                .find(|(binding, _)| *binding == slot.binding);
            let mut words = given.map_or_else(Vec::new, |(_, words)| words.clone());
            words.resize((padded_bytes(slot.bytes) / 4) as usize, 0x7fff_7fff);
            (slot.binding, words)
        })
        .collect();
    let mut whole = memory.clone();
    apply(launch, &mut whole);

    let parts = launch
        .split(max_bytes, alignment)
        .expect("can be cut this small");
    let mut pieces = memory;
    for part in &parts {
        let range_of = |binding: u32| {
            let range = &part.ranges[&binding];
            assert!(range.start % alignment == 0, "{range:?} is not aligned");
            assert!(
                range.end - range.start <= max_bytes,
                "{range:?} is too long"
            );
            (range.start / 4) as usize..(range.end / 4) as usize
        };
        let mut windows: Vec<(u32, Vec<u32>)> = pieces
            .iter()
            .map(|(binding, words)| (*binding, words[range_of(*binding)].to_vec()))
            .collect();
        for slot in part.launch.slots() {
            let range = &part.ranges[&slot.binding];
            assert!(
                slot.bytes <= range.end - range.start,
                "{} does not fit",
                slot.name
            );
        }
        apply(part.launch.as_ref(), &mut windows);
        for ((_, words), (binding, window)) in pieces.iter_mut().zip(windows) {
            words[range_of(binding)].copy_from_slice(&window);
        }
    }
    assert_eq!(pieces, whole);
    parts.len()
}

fn apply(launch: &dyn Launch, memory: &mut [(u32, Vec<u32>)]) {
    let before = memory.to_vec();
    let mut operands = HostOperands::default();
    for (binding, words) in &before {
        operands.insert(*binding, words);
    }
    for output in launch.reference(&operands) {
        for (_, words) in memory
            .iter_mut()
            .filter(|(binding, _)| *binding == output.binding)
        {
            output.store(words);
        }
    }
}
