//! What kernels have for a host's cores: every case of theirs against the reference, judged as an adapter's results
//! are, with the same bits on any number of threads.

use lapidary::kernels::{Case, Effort, Judge, REGISTRY};
use lapidary::record::{
    Access, Bound, Comparison, HostOperands, HostResults, compare, padded_bytes,
};
use rayon::ThreadPool;

/// Kernels with something for a host's cores in every case.
const ALWAYS: [&str; 16] = [
    "elementwise",
    "embedding",
    "embedding_quant",
    "attention",
    "attention_combine",
    "combine_quantize",
    "rotary",
    "norm_quantize",
    "swiglu",
    "swiglu_quantize",
    "top_k",
    "matmul_dense",
    "matmul_quant",
    "matvec_quant",
    "matmul_int8",
    "matvec_int8",
];

/// Kernels with something in some cases.
const SOMETIMES: [&str; 2] = ["norm", "row_loss"];

/// Not a number as f32, as two f16 and as two bf16: what a result holds before, and what lies behind it.
const POISON: u32 = 0x7fff_7fff;

/// Words behind every result that must stay as they are.
const GUARD_WORDS: usize = 16;

fn pool(threads: usize) -> ThreadPool {
    let builder = rayon::ThreadPoolBuilder::new().num_threads(threads);
    builder.build().expect("threads")
}

/// What is written, by binding, with guard words; `None` where there is only the reference.
fn run(case: &Case, threads: &ThreadPool) -> Option<Vec<(u32, Vec<u32>)>> {
    let given = |binding: u32| case.operands.iter().find(|(at, _)| *at == binding);
    let mut operands = HostOperands::default();
    let mut written = Vec::new();
    for slot in case.launch.slots() {
        let words = given(slot.binding).map(|(_, words)| words);
        if slot.access == Access::Read {
            operands.insert(slot.binding, words.expect("a case gives what is read"));
            continue;
        }
        let needed = (slot.bytes.div_ceil(4)) as usize;
        let mut content = words.cloned().unwrap_or_default();
        content.resize(needed, POISON);
        content.resize(
            (padded_bytes(slot.bytes) / 4) as usize + GUARD_WORDS,
            POISON,
        );
        written.push((slot.binding, content));
    }
    let mut results = HostResults::default();
    for (binding, words) in &mut written {
        results.insert(*binding, words);
    }
    let is_done = threads.install(|| case.launch.fast(&operands, &mut results));
    if !is_done {
        let untouched = |(binding, words): &(u32, Vec<u32>)| {
            let before = given(*binding).map_or(0, |(_, words)| words.len());
            words[before..].iter().all(|&word| word == POISON)
        };
        assert!(written.iter().all(untouched), "{}", case.name);
        return None;
    }
    for slot in case.launch.slots() {
        let found = written.iter().find(|(binding, _)| *binding == slot.binding);
        if let Some((_, words)) = found {
            let guard = &words[slot.bytes.div_ceil(4) as usize..];
            assert!(guard.iter().all(|&word| word == POISON), "{}", case.name);
        }
    }
    Some(written)
}

/// The comparison with the reference.
fn judge(case: &Case, written: &[(u32, Vec<u32>)]) -> Comparison {
    let mut operands = HostOperands::default();
    for (binding, words) in &case.operands {
        operands.insert(*binding, words);
    }
    let outputs = case.launch.reference(&operands);
    let bounds = match case.judge {
        Judge::Bitwise => vec![Bound::Exact; outputs.len()],
        Judge::Bounded => case.launch.bound(&operands),
    };
    let mut all = Comparison::default();
    for (output, bound) in outputs.iter().zip(&bounds) {
        let (_, words) = written
            .iter()
            .find(|(binding, _)| *binding == output.binding)
            .expect("an output is written");
        all.merge(compare(output, bound, words));
    }
    all
}

#[test]
fn every_case_is_within_its_bound_with_the_same_bits_on_any_number_of_threads() {
    let (one, three) = (pool(1), pool(3));
    for kernel in REGISTRY {
        let (mut done, mut left) = (0, 0);
        for case in (kernel.cases)(Effort::Quick) {
            let Some(written) = run(&case, &one) else {
                left += 1;
                continue;
            };
            done += 1;
            let comparison = judge(&case, &written);
            assert!(
                comparison.passed(),
                "{} {}: {comparison:?}",
                kernel.name,
                case.name
            );
            assert_eq!(Some(written), run(&case, &three), "{}", case.name);
        }
        let expected = match kernel.name {
            name if ALWAYS.contains(&name) => done > 0 && left == 0,
            name if SOMETIMES.contains(&name) => done > 0 && left > 0,
            _ => done == 0,
        };
        assert!(expected, "{}: {done} done, {left} left", kernel.name);
    }
}

#[test]
fn the_comparison_sees_one_wrong_element() {
    let case = REGISTRY
        .iter()
        .find(|kernel| kernel.name == "matvec_quant")
        .and_then(|kernel| (kernel.cases)(Effort::Quick).into_iter().next())
        .expect("a case");
    let mut written = run(&case, &pool(1)).expect("has something");
    assert!(judge(&case, &written).passed());
    let value = f32::from_bits(written[0].1[0]);
    written[0].1[0] = (value * 1.01 + 1.0).to_bits();
    assert!(!judge(&case, &written).passed());
}
