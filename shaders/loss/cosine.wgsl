// Half the squared distance of x and target, both of length 1: 1 - cosine, without its cancellation. Rows
// shorter than 1e-12 count as zero, with no direction and no gradient.

import package::lib::share::not_a_number;
import package::element::load_bits;
import package::second::load_b_element;
import package::lanes::{LANE_STEP, first_element};
import package::reduce::reduce_sum;
import package::row_loss::params::params;

struct Facts {
    scales: vec2<f32>, // 1 / length of x and of the target
    along: f32, // x of length 1 times what it is away from the target
}

fn both(row: u32, column: u32) -> vec2<f32> {
    let index = row * params.columns + column;
    return vec2(bitcast<f32>(load_bits(index)), load_b_element(index));
}

fn inverse_length(squares: f32) -> f32 {
    let divisor = select(max(squares, 1e-24), squares, not_a_number(squares));
    return select(inverseSqrt(divisor), 0.0, squares < 1e-24);
}

fn row_facts(row: u32, lane: u32) -> Facts {
    let first = first_element(lane);
    var squares = vec2(0.0);
    for (var column = first; column < params.columns; column += LANE_STEP) {
        let values = both(row, column);
        squares += values * values;
    }
    let x_squares = reduce_sum(squares.x, lane);
    let target_squares = reduce_sum(squares.y, lane);
    let scales = vec2(inverse_length(x_squares), inverse_length(target_squares));
    var along = 0.0;
    for (var column = first; column < params.columns; column += LANE_STEP) {
        let units = both(row, column) * scales;
        along += units.x * (units.x - units.y);
    }
    return Facts(scales, reduce_sum(along, lane));
}

fn loss_term(facts: Facts, row: u32, column: u32) -> f32 {
    let units = both(row, column) * facts.scales;
    let away = units.x - units.y;
    return 0.5 * away * away;
}

fn loss_gradient(facts: Facts, row: u32, column: u32) -> f32 {
    let units = both(row, column) * facts.scales;
    return facts.scales.x * ((units.x - units.y) - units.x * facts.along);
}
