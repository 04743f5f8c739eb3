//! Cases: matrices and inner extents, chunks with a rest, products with normalized values, every kind of data.

use crate::kernels::{Case, DataKind, Effort, FloatType};
use crate::shader::Edit;

use super::{ChannelSums, NAME, STATISTICS, Term, X, Y};

pub(super) fn cases(effort: Effort) -> Vec<Case> {
    let mut shapes = vec![
        (1, 1, 1, 1),
        (7, 10, 1, 7),
        (100, 65, 1, 16),
        (64, 64, 1, 2),
        (130, 3, 1, 64),
        (3, 130, 1, 2),
        (5, 6, 49, 2),
        (9, 4, 65, 9),
        (2, 66, 2, 1),
    ];
    if effort == Effort::Full {
        shapes.extend([(2048, 768, 1, 64), (32, 64, 1024, 4), (70_000, 3, 1, 1)]);
    }
    let mut cases = Vec::new();
    for (index, (items, channels, inner, chunk)) in shapes.into_iter().enumerate() {
        let shape = ChannelSums {
            items,
            channels,
            inner,
            chunk,
            x: FloatType::F32,
            term: Term::Plain,
        };
        cases.extend(case(shape, DataKind::Integers));
        cases.extend(case(shape, DataKind::Normal));
        cases.extend(case(shape, DataKind::ALL[index % 7]));
        let y = [FloatType::F32, FloatType::F16, FloatType::Bf16][index % 3];
        let groups = [1, channels, if channels % 2 == 0 { 2 } else { 1 }][index % 3];
        for term in [Term::Grouped { groups, y }, Term::PerChannel { y }] {
            let x = [FloatType::F16, FloatType::F32][index % 2];
            cases.extend(case(ChannelSums { x, term, ..shape }, DataKind::Integers));
            cases.extend(case(ChannelSums { x, term, ..shape }, DataKind::Normal));
        }
    }
    let shape = ChannelSums {
        items: 37,
        channels: 18,
        inner: 3,
        chunk: 10,
        x: FloatType::F32,
        term: Term::Plain,
    };
    for x in [FloatType::F32, FloatType::F16, FloatType::Bf16] {
        for data in DataKind::ALL {
            cases.extend(case(ChannelSums { x, ..shape }, data));
        }
    }
    // Long sums have larger workgroups.
    let long = ChannelSums {
        items: 3,
        inner: 1000,
        ..shape
    };
    cases.extend(case(long, DataKind::Integers));
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    cases.dedup_by(|a, b| a.name == b.name);
    cases
}

/// The case; `None` only when the shape itself is refused, which the shape tests cover. Statistics are
/// integers with integer data, so that products stay exact.
fn case(shape: ChannelSums, data: DataKind) -> Option<Case> {
    let len = shape.elements() as usize;
    let seed = shape.elements();
    let mut operands = vec![(X, shape.x.pack(&data.values(seed, len)))];
    let (rows, y) = match shape.term {
        Term::Plain => (0, FloatType::F32),
        Term::Grouped { groups, y } => (shape.items * groups, y),
        Term::PerChannel { y } => (shape.channels, y),
    };
    if shape.term != Term::Plain {
        operands.push((Y, y.pack(&data.values(seed + 1, len))));
        let statistics = data.values(seed + 2, 2 * rows as usize);
        operands.push((STATISTICS, FloatType::F32.pack(&statistics)));
    }
    Some(Case::new(shape.launch().ok()?, operands, data))
}

pub(super) const BROKEN: &[Edit] = &[
    Edit {
        name: "no_guard",
        module: NAME,
        find: "at >= params.sums",
        replace: "at > params.sums",
    },
    Edit {
        name: "last_chunk_reads_past_its_items",
        module: NAME,
        find: "min(params.chunk, params.items - first_item)",
        replace: "params.chunk",
    },
    Edit {
        name: "last_element_dropped",
        module: NAME,
        find: "element < count",
        replace: "element + 1u < count",
    },
    Edit {
        name: "chunks_overlap",
        module: NAME,
        find: "at / params.channels * params.chunk",
        replace: "at / params.channels * (params.chunk - 1u)",
    },
    Edit {
        name: "items_for_inner",
        module: NAME,
        find: "element % params.inner;",
        replace: "element / params.inner;",
    },
    Edit {
        name: "lanes_not_added",
        module: NAME,
        find: "sum = reduce_sum(sum, lane);",
        replace: "",
    },
    Edit {
        name: "statistics_of_the_first_group",
        module: "term/group",
        find: "(item * params.channels + channel) / params.group_channels",
        replace: "(item * params.channels) / params.group_channels",
    },
    Edit {
        name: "not_centred",
        module: "term/channel",
        find: " - statistics[2u * channel];",
        replace: ";",
    },
    Edit {
        name: "deviation_lost",
        module: "term/group",
        find: "(away * statistics[2u * row + 1u])",
        replace: "away",
    },
];
