//! Cases: kernels from 1 by 1, every setting alone and together, groups, channels and positions that fill no
//! tile, both directions, every storage type and kind of data.

use crate::kernels::conv_shape::{ConvShape, Steps};
use crate::kernels::epilogue::BIAS;
use crate::kernels::{Activation, Case, DataKind, Effort, FloatType};
use crate::shader::Edit;

use super::{Conv2d, Direction, NAME, W, X};

const FORWARD: Direction = Direction::Forward {
    bias: false,
    activation: Activation::Identity,
};

/// Shapes that this kernel and that of the weight's gradient are tried on.
pub(in crate::kernels) fn shapes(effort: Effort) -> Vec<ConvShape> {
    let shape =
        |batch, [in_channels, out_channels, groups]: [u32; 3], input, kernel, steps| ConvShape {
            batch,
            in_channels,
            out_channels,
            groups,
            input,
            kernel,
            steps,
        };
    let steps = |stride, padding, dilation| Steps {
        stride,
        padding,
        dilation,
    };
    let usual = Steps::default();
    let same = steps([1; 2], [1; 2], [1; 2]);
    let mut shapes = vec![
        shape(1, [1, 1, 1], [1, 1], [1, 1], usual),
        shape(2, [3, 5, 1], [9, 11], [3, 3], same),
        shape(
            1,
            [2, 3, 1],
            [10, 10],
            [3, 3],
            steps([1; 2], [0; 2], [2; 2]),
        ),
        // One row: conv1d.
        shape(2, [3, 4, 1], [1, 17], [1, 3], steps([1, 2], [0, 1], [1; 2])),
        shape(3, [5, 19, 1], [6, 7], [1, 1], usual),
        shape(2, [4, 10, 2], [7, 6], [2, 3], steps([3, 2], [1, 2], [2, 1])),
        shape(2, [9, 9, 9], [6, 12], [3, 3], same),
        shape(2, [3, 6, 3], [7, 8], [5, 3], steps([2; 2], [2, 1], [1; 2])),
        // More channels than a tile both ways, and a padding that some windows lie in whole.
        shape(
            5,
            [12, 20, 1],
            [8, 8],
            [3, 3],
            steps([2; 2], [3; 2], [1; 2]),
        ),
        // Images that begin at aligned offsets, so that the launch can be cut.
        shape(12, [6, 8, 1], [8, 8], [2, 2], steps([2; 2], [0; 2], [1; 2])),
        // No window reaches the last row.
        shape(3, [2, 7, 1], [10, 8], [2, 2], steps([3; 2], [0; 2], [1; 2])),
    ];
    if effort == Effort::Full {
        shapes.push(shape(2, [16, 32, 1], [14, 14], [3, 3], same));
        shapes.push(shape(
            1,
            [3, 8, 1],
            [33, 34],
            [7, 7],
            steps([2; 2], [3; 2], [1; 2]),
        ));
        shapes.push(shape(
            1,
            [32, 32, 32],
            [16, 16],
            [3, 3],
            steps([2; 2], [1; 2], [1; 2]),
        ));
    }
    shapes
}

pub(super) fn cases(effort: Effort) -> Vec<Case> {
    let types = [FloatType::F32, FloatType::F16, FloatType::Bf16];
    let mut cases = Vec::new();
    for (index, shape) in shapes(effort).into_iter().enumerate() {
        for (turn, direction) in [FORWARD, Direction::Backward].into_iter().enumerate() {
            let conv = Conv2d {
                shape,
                direction,
                x: FloatType::F32,
                w: FloatType::F32,
                out: FloatType::F32,
            };
            cases.extend(case(conv, DataKind::Integers));
            cases.extend(case(conv, DataKind::ALL[1 + (index + turn) % 6]));
            let stored = Conv2d {
                x: types[(index + turn + 1) % 3],
                w: types[(index / 3 + turn) % 3],
                ..conv
            };
            cases.extend(case(stored, DataKind::Integers));
            for out in [FloatType::F16, FloatType::Bf16] {
                cases.extend(case(Conv2d { out, ..stored }, DataKind::Normal));
            }
        }
        for (bias, activation) in [
            (true, Activation::Relu),
            (true, Activation::Silu),
            (false, Activation::GeluTanh),
            (true, Activation::Identity),
        ] {
            let direction = Direction::Forward { bias, activation };
            if index % 4 != 1 && activation != Activation::Identity {
                continue;
            }
            let conv = Conv2d {
                shape,
                direction,
                x: FloatType::F32,
                w: FloatType::F32,
                out: FloatType::F32,
            };
            cases.extend(case(conv, DataKind::Normal));
            if activation.is_exact() {
                cases.extend(case(conv, DataKind::Integers));
            }
        }
    }
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    cases.dedup_by(|a, b| a.name == b.name);
    cases
}

/// The case; `None` only when the shape itself is refused, as 16-bit results of an odd number of positions are.
fn case(conv: Conv2d, data: DataKind) -> Option<Case> {
    let launch = conv.launch().ok()?;
    let read = conv.read();
    let len = conv.shape.batch as usize * read.channels as usize * read.positions() as usize;
    let weights = conv.shape.elements()[2] as usize;
    let mut operands = vec![
        (X, conv.x.pack(&data.values(len as u64, len))),
        (W, conv.w.pack(&data.values(weights as u64 + 1, weights))),
    ];
    if matches!(conv.direction, Direction::Forward { bias: true, .. }) {
        let bias = data.values(3, conv.shape.out_channels as usize);
        operands.push((BIAS, FloatType::F32.pack(&bias)));
    }
    Some(Case::new(launch, operands, data))
}

pub(super) const BROKEN: &[Edit] = &[
    Edit {
        name: "no_guard",
        module: NAME,
        find: "image_group >= params.image_groups",
        replace: "image_group > params.image_groups",
    },
    Edit {
        name: "channels_past_the_group_are_stored",
        module: NAME,
        find: "if (in_group < params.group_out)",
        replace: "if (in_group <= params.group_out)",
    },
    Edit {
        name: "padding_repeats_the_edge",
        module: NAME,
        find: "select(0.0, load_a(at[p] + i * plane), inside[p])",
        replace: "load_a(at[p] + i * plane)",
    },
    Edit {
        name: "rows_past_the_bottom_count",
        module: NAME,
        find: "y < params.height && x < params.width",
        replace: "y <= params.height && x < params.width",
    },
    Edit {
        name: "height_and_width_step_alike",
        module: NAME,
        find: "s * params.step_x",
        replace: "s * params.step_y",
    },
    Edit {
        name: "last_tap_of_a_row_dropped",
        module: NAME,
        find: "s < params.kernel_width",
        replace: "s + 1u < params.kernel_width",
    },
    Edit {
        name: "first_channel_only",
        module: NAME,
        find: "i * params.weight_in",
        replace: "0u * params.weight_in",
    },
    Edit {
        name: "weights_of_the_first_group",
        module: NAME,
        find: "group * params.weight_group + ",
        replace: "",
    },
    Edit {
        name: "every_place_has_a_way_back",
        module: "reach/multiples",
        find: "place % divide == 0u",
        replace: "true",
    },
    Edit {
        name: "bias_of_the_first_channels",
        module: NAME,
        find: "load_bias(channel)",
        replace: "load_bias(channel / 2u)",
    },
];
