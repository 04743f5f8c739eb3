// Cross-entropy with one class a row: weight 1 - smoothing on the label, smoothing spread over all. A
// label that is no class gets no weight.

import package::lib::share::share_below;
import package::row_loss::params::params;
import package::row_loss::logits::{load_x, x_facts};

@group(0) @binding(2) var<storage, read> labels: array<u32>; // [rows]

struct Facts {
    largest: f32,
    sum: f32,
    log_sum: f32,
    label: u32,
    weight: f32, // of all classes
}

fn row_facts(row: u32, lane: u32) -> Facts {
    let facts = x_facts(row, lane);
    let label = labels[row];
    let weight = select(params.setting, 1.0, label < params.columns);
    return Facts(facts.x, facts.y, log(facts.y), label, weight);
}

fn class_weight(facts: Facts, column: u32) -> f32 {
    return params.setting / f32(params.columns) + select(0.0, 1.0 - params.setting, column == facts.label);
}

fn loss_term(facts: Facts, row: u32, column: u32) -> f32 {
    return class_weight(facts, column) * (facts.log_sum - (load_x(row, column) - facts.largest));
}

fn loss_gradient(facts: Facts, row: u32, column: u32) -> f32 {
    let share = share_below(load_x(row, column) - facts.largest) / facts.sum;
    return share * facts.weight - class_weight(facts, column);
}
