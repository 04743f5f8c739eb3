import package::lib::logistic::logistic_slope;

fn slope_at(v: f32) -> f32 {
    return logistic_slope(v);
}
