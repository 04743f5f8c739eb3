// 1 - tanh(v)^2 = 4 logistic'(2 v)

import package::lib::logistic::logistic_slope;

fn slope_at(v: f32) -> f32 {
    return 4.0 * logistic_slope(2.0 * v);
}
