import package::lib::logistic::{logistic, logistic_slope};

fn slope_at(v: f32) -> f32 {
    return logistic(v) + v * logistic_slope(v);
}
