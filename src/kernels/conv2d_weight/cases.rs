//! Cases: the shapes of `conv2d`, with chunks of one row, some rows, one image and some, and rests of each.

use crate::kernels::conv2d::shapes;
use crate::kernels::{Case, DataKind, Effort, FloatType};
use crate::shader::Edit;

use super::{Conv2dWeight, DY, NAME, X};

pub(super) fn cases(effort: Effort) -> Vec<Case> {
    let types = [FloatType::F32, FloatType::F16, FloatType::Bf16];
    let mut cases = Vec::new();
    for (index, shape) in shapes(effort).into_iter().enumerate() {
        let height = shape.output()[0];
        for (turn, (image_chunk, row_chunk)) in [(2, height), (1, 2)].into_iter().enumerate() {
            let sums = Conv2dWeight {
                shape,
                image_chunk,
                row_chunk,
                x: FloatType::F32,
                dy: FloatType::F32,
            };
            cases.extend(case(sums, DataKind::Integers));
            cases.extend(case(sums, DataKind::ALL[1 + (index + turn) % 6]));
            let stored = Conv2dWeight {
                x: types[(index + turn) % 3],
                dy: types[(index / 3 + 2 * turn) % 3],
                ..sums
            };
            cases.extend(case(stored, DataKind::Integers));
            cases.extend(case(stored, DataKind::Normal));
        }
    }
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    cases.dedup_by(|a, b| a.name == b.name);
    cases
}

/// The case; `None` only when the shape itself is refused, which the shape tests cover.
fn case(sums: Conv2dWeight, data: DataKind) -> Option<Case> {
    let launch = sums.launch().ok()?;
    let [x, dy, _] = sums.shape.elements().map(|one| one as usize);
    let (x, dy) = (
        sums.shape.batch as usize * x,
        sums.shape.batch as usize * dy,
    );
    let operands = vec![
        (X, sums.x.pack(&data.values(x as u64, x))),
        (DY, sums.dy.pack(&data.values(dy as u64 + 1, dy))),
    ];
    Some(Case::new(launch, operands, data))
}

pub(super) const BROKEN: &[Edit] = &[
    Edit {
        name: "no_guard",
        module: NAME,
        find: "chunk_group >= params.chunk_groups",
        replace: "chunk_group > params.chunk_groups",
    },
    Edit {
        name: "last_chunk_reads_past_the_batch",
        module: NAME,
        find: "min(first_image + params.image_chunk, params.batch)",
        replace: "first_image + params.image_chunk",
    },
    Edit {
        name: "last_chunk_reads_rows_of_the_next_channel",
        module: NAME,
        find: "min(first_row + params.row_chunk, params.out_height)",
        replace: "first_row + params.row_chunk",
    },
    Edit {
        name: "rows_above_and_below_count",
        module: NAME,
        find: "select(0u, params.width, y < params.height)",
        replace: "params.width",
    },
    Edit {
        name: "last_column_dropped",
        module: NAME,
        find: "column < params.out_width",
        replace: "column + 1u < params.out_width",
    },
    Edit {
        name: "weights_past_the_channel_are_stored",
        module: NAME,
        find: "if (first_weight + k < weights)",
        replace: "if (first_weight + k <= weights)",
    },
    Edit {
        name: "channels_of_the_first_group",
        module: NAME,
        find: "planes[k] = group * params.group_in + ",
        replace: "planes[k] = ",
    },
    Edit {
        name: "stride_of_rows_for_columns",
        module: NAME,
        find: "column * params.stride_x",
        replace: "column * params.stride_y",
    },
    Edit {
        name: "dilation_lost",
        module: NAME,
        find: "tap / params.kernel_width * params.dilation_y",
        replace: "tap / params.kernel_width",
    },
];
