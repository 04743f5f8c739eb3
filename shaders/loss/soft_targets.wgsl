// Cross-entropy with a weight for each class, mixed with smoothing spread over all.

import package::lib::share::share_below;
import package::lanes::{LANE_STEP, first_element};
import package::reduce::reduce_sum;
import package::row_loss::params::params;
import package::row_loss::logits::{load_x, x_facts};
import package::second::load_b_element;

struct Facts {
    largest: f32,
    sum: f32,
    log_sum: f32,
    weight: f32, // of all classes
}

fn class_weight(row: u32, column: u32) -> f32 {
    let target_weight = load_b_element(row * params.columns + column);
    return (1.0 - params.setting) * target_weight + params.setting / f32(params.columns);
}

fn row_facts(row: u32, lane: u32) -> Facts {
    let facts = x_facts(row, lane);
    var weight = 0.0;
    for (var column = first_element(lane); column < params.columns; column += LANE_STEP) {
        weight += class_weight(row, column);
    }
    return Facts(facts.x, facts.y, log(facts.y), reduce_sum(weight, lane));
}

fn loss_term(facts: Facts, row: u32, column: u32) -> f32 {
    return class_weight(row, column) * (facts.log_sum - (load_x(row, column) - facts.largest));
}

fn loss_gradient(facts: Facts, row: u32, column: u32) -> f32 {
    let share = share_below(load_x(row, column) - facts.largest) / facts.sum;
    return share * facts.weight - class_weight(row, column);
}
