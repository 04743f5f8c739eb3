// (x - target)^2

import package::element::load_bits;
import package::second::load_b_element;
import package::row_loss::params::params;

struct Facts {
    unused: f32,
}

fn row_facts(row: u32, lane: u32) -> Facts {
    return Facts(0.0);
}

fn away(row: u32, column: u32) -> f32 {
    let index = row * params.columns + column;
    return bitcast<f32>(load_bits(index)) - load_b_element(index);
}

fn loss_term(facts: Facts, row: u32, column: u32) -> f32 {
    let difference = away(row, column);
    return difference * difference;
}

fn loss_gradient(facts: Facts, row: u32, column: u32) -> f32 {
    return 2.0 * away(row, column);
}
