//! Cases: every kind of data, both layouts, parts of a larger product, ties, caches whose end is passed.

use crate::kernels::attention::Place;
use crate::kernels::{Case, DataKind, Effort, FloatType};
use crate::num::Philox;
use crate::shader::Edit;

use super::{CODES, CacheQuantize, NAME, SCALES, STARTS, X};

pub(super) fn cases(effort: Effort) -> Vec<Case> {
    let mut shapes = vec![
        [1, 1, 1, 4, 1],
        [2, 3, 5, 8, 9],
        [3, 2, 7, 20, 11],
        [130, 1, 1, 8, 2],
    ];
    if effort == Effort::Full {
        shapes.extend([[2, 3, 70, 64, 100], [1, 2, 33, 128, 40]]);
    }
    let mut cases = Vec::new();
    for (index, [batch, heads, tokens, dim, capacity]) in shapes.into_iter().enumerate() {
        let fused = Place {
            offset: heads * dim,
            batch: 3 * heads * tokens * dim,
            head: dim,
            token: 3 * heads * dim,
        };
        let places = [
            Place::heads_first(heads, tokens, dim),
            Place::tokens_first(heads, tokens, dim),
            fused,
        ];
        for (turn, x_place) in places.into_iter().enumerate() {
            let shape = CacheQuantize {
                batch,
                heads,
                tokens,
                dim,
                capacity,
                x_place,
            };
            let kinds = [
                DataKind::Integers,
                DataKind::Normal,
                DataKind::ALL[2 + (index + turn) % 5],
            ];
            for data in kinds {
                cases.extend(case(shape, data, false));
            }
            cases.extend(case(shape, DataKind::Normal, true));
        }
    }
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    cases.dedup_by(|a, b| a.name == b.name);
    cases
}

/// The case, with NaN in some rows where asked; `None` only when the shape itself is refused, which the shape tests
/// cover.
fn case(shape: CacheQuantize, data: DataKind, has_nan: bool) -> Option<Case> {
    let len = shape.batch as usize * shape.x_place.batch as usize;
    let spread = [1, 0, shape.capacity / 2, shape.capacity, u32::MAX];
    let starts = (0..shape.batch as usize).map(|sequence| spread[sequence % 5]);
    let rows = shape.cache_rows() as usize;
    let mut stream = Philox::new(rows as u64).stream(1);
    let codes = (0..(rows * shape.dim as usize).div_ceil(4)).map(|_| stream.next_u32());
    let mut x = data.values(1, len);
    if has_nan {
        x.iter_mut().step_by(97).for_each(|one| *one = f32::NAN);
    }
    let operands = vec![
        (X, FloatType::F32.pack(&x)),
        (STARTS, starts.collect()),
        (CODES, codes.collect()),
        (
            SCALES,
            FloatType::F32.pack(&DataKind::Normal.values(2, rows)),
        ),
    ];
    // Integers have ties, which may be rounded either way.
    let mut case = Case::new(shape.launch().ok()?, operands, data).bounded();
    if has_nan {
        case.name.push_str(" nan");
    }
    Some(case)
}

/// From magnitudes to codes, as `quantize_rows` has it.
const CODE: &str = "quantize_rows/code";

pub(super) const BROKEN: &[Edit] = &[
    Edit {
        name: "all_tokens_at_the_first_position",
        module: NAME,
        find: "params.capacity) + token",
        replace: "params.capacity) + 0u * token",
    },
    Edit {
        name: "past_the_end_of_the_cache",
        module: NAME,
        find: "if (position >= params.capacity)",
        replace: "if (position > params.capacity)",
    },
    Edit {
        name: "start_of_the_first_sequence",
        module: NAME,
        find: "starts[sequence]",
        replace: "starts[0u * sequence]",
    },
    Edit {
        name: "largest_of_three_quarters",
        module: CODE,
        find: "max(bits.z, bits.w)",
        replace: "bits.z",
    },
    Edit {
        name: "rounded_down",
        module: CODE,
        find: "clamp(round(",
        replace: "clamp(floor(",
    },
    Edit {
        name: "scale_of_128",
        module: CODE,
        find: "largest * 0.007874015748031496",
        replace: "largest * 0.0078125",
    },
    Edit {
        name: "codes_of_the_first_row",
        module: NAME,
        find: "cache_codes[row * QUADS + quad]",
        replace: "cache_codes[quad]",
    },
];
