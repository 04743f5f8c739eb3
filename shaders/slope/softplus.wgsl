import package::lib::logistic::logistic;

fn slope_at(v: f32) -> f32 {
    return logistic(v);
}
