// Binary cross-entropy of logistic(x) with a target in [0, 1]: max(x, 0) - x target + log(1 + e^-|x|).

import package::element::load_bits;
import package::second::load_b_element;
import package::lib::log1p::log1p_of;
import package::lib::logistic::logistic;
import package::lib::share::not_a_number;
import package::row_loss::params::params;

struct Facts {
    unused: f32,
}

fn row_facts(row: u32, lane: u32) -> Facts {
    return Facts(0.0);
}

fn load_x(row: u32, column: u32) -> f32 {
    return bitcast<f32>(load_bits(row * params.columns + column));
}

fn loss_term(facts: Facts, row: u32, column: u32) -> f32 {
    let v = load_x(row, column);
    let wanted = load_b_element(row * params.columns + column);
    return (max(v, 0.0) - v * wanted) + log1p_of(exp(-abs(v)));
}

fn loss_gradient(facts: Facts, row: u32, column: u32) -> f32 {
    let v = load_x(row, column);
    // Some drivers have a number for the exponential of NaN.
    return select(logistic(v), v, not_a_number(v)) - load_b_element(row * params.columns + column);
}
