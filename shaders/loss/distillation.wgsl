// T^2 KL(softmax(teacher / T) || softmax(x / T)), and its gradient T (share of x - share of teacher).

import package::lib::share::share_below;
import package::element::load_bits;
import package::second::load_b_element;
import package::lanes::{LANE_STEP, first_element};
import package::reduce::{reduce_max, reduce_sum};
import package::row_loss::params::params;

struct Facts {
    largest: vec2<f32>, // of x and of the teacher, divided by T
    sum: vec2<f32>,
    log_sum: vec2<f32>,
}

fn tempered(row: u32, column: u32) -> vec2<f32> {
    let index = row * params.columns + column;
    return vec2(bitcast<f32>(load_bits(index)) / params.setting, load_b_element(index) / params.setting);
}

fn shares_below(below: vec2<f32>) -> vec2<f32> {
    return vec2(share_below(below.x), share_below(below.y));
}

fn shares(facts: Facts, row: u32, column: u32) -> vec2<f32> {
    return shares_below(tempered(row, column) - facts.largest) / facts.sum;
}

fn row_facts(row: u32, lane: u32) -> Facts {
    let first = first_element(lane);
    var largest = tempered(row, 0u);
    for (var column = first; column < params.columns; column += LANE_STEP) {
        largest = max(largest, tempered(row, column));
    }
    let x_largest = reduce_max(largest.x, lane);
    largest = vec2(x_largest, reduce_max(largest.y, lane));
    var sum = vec2(0.0);
    for (var column = first; column < params.columns; column += LANE_STEP) {
        sum += shares_below(tempered(row, column) - largest);
    }
    let x_sum = reduce_sum(sum.x, lane);
    sum = vec2(x_sum, reduce_sum(sum.y, lane));
    return Facts(largest, sum, log(sum));
}

fn loss_term(facts: Facts, row: u32, column: u32) -> f32 {
    let logs = tempered(row, column) - facts.largest - facts.log_sum;
    return params.setting * params.setting * shares(facts, row, column).y * (logs.y - logs.x);
}

fn loss_gradient(facts: Facts, row: u32, column: u32) -> f32 {
    let both = shares(facts, row, column);
    return params.setting * (both.x - both.y);
}
