//! Cases: the shapes of the forward kernel, with statistics of any kind, every kind of data, and the 16-bit
//! types.

use crate::kernels::norm::{self, Center, NormShape};
use crate::kernels::{Case, DataKind, Effort, FloatType};
use crate::shader::Edit;

use super::{DY, GAMMA, NAME, NormBackward, STATISTICS, X};

pub(super) fn cases(effort: Effort) -> Vec<Case> {
    let mut cases = Vec::new();
    for (index, shape) in norm::shapes(effort).into_iter().enumerate() {
        for center in [Center::Mean, Center::Zero] {
            let norm = NormBackward {
                shape,
                center,
                x: FloatType::F32,
                dy: FloatType::F32,
                out: FloatType::F32,
            };
            cases.extend(case(norm, DataKind::Integers));
            cases.extend(case(norm, DataKind::Normal));
            cases.extend(case(norm, DataKind::ALL[(index + 2) % 7]));
            let (x, dy) = [
                (FloatType::F16, FloatType::Bf16),
                (FloatType::Bf16, FloatType::F16),
            ][index % 2];
            let out = [FloatType::F16, FloatType::Bf16][index % 2];
            let mixed = NormBackward { x, dy, out, ..norm };
            cases.extend(case(mixed, DataKind::Normal));
        }
    }
    // Long rows have larger workgroups.
    let long = NormBackward {
        shape: NormShape::rows(2, 4096),
        center: Center::Mean,
        x: FloatType::F32,
        dy: FloatType::F16,
        out: FloatType::F32,
    };
    cases.extend(case(long, DataKind::Normal));
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    cases.dedup_by(|a, b| a.name == b.name);
    cases
}

/// The case; `None` only when the shape itself is refused, which the shape tests cover.
fn case(norm: NormBackward, data: DataKind) -> Option<Case> {
    let (len, channels) = (norm.shape.elements() as usize, norm.shape.channels as usize);
    let rows = norm.shape.extents().rows as usize;
    let seed = norm.shape.elements();
    let normal = |seed, len| FloatType::F32.pack(&DataKind::Normal.values(seed, len));
    let operands = vec![
        (X, norm.x.pack(&data.values(seed, len))),
        (DY, norm.dy.pack(&DataKind::Normal.values(seed + 1, len))),
        (GAMMA, normal(2, channels)),
        (STATISTICS, normal(3, 2 * rows)),
    ];
    Some(Case::new(norm.launch().ok()?, operands, data).bounded())
}

pub(super) const BROKEN: &[Edit] = &[
    Edit {
        name: "no_row_guard",
        module: NAME,
        find: "row >= params.rows",
        replace: "row > params.rows",
    },
    Edit {
        name: "last_column_not_summed",
        module: NAME,
        find: "column < params.columns; column += LANE_STEP) {\n        let both",
        replace: "column + 1u < params.columns; column += LANE_STEP) {\n        let both",
    },
    Edit {
        name: "mean_of_the_first_row",
        module: NAME,
        find: "statistics[2u * row];",
        replace: "statistics[0];",
    },
    Edit {
        name: "factor_of_the_first_channel",
        module: NAME,
        find: "gamma[channel_of(row, column)]",
        replace: "gamma[0]",
    },
    Edit {
        name: "second_of_a_pair_without_its_projection",
        module: NAME,
        find: "(right.y - level) - right.x * slope",
        replace: "(right.y - level)",
    },
    Edit {
        name: "mean_not_divided",
        module: "norm_term/mean",
        find: " / f32(params.columns)",
        replace: "",
    },
    Edit {
        name: "products_not_divided",
        module: NAME,
        find: "reduce_sum(products, lane) / f32(params.columns)",
        replace: "reduce_sum(products, lane)",
    },
];
