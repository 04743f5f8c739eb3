// dx = dy - e^y (sum of dy)

import package::lib::share::share_below;

fn weighted(y: f32, dy: f32) -> f32 {
    return dy;
}

fn through(y: f32, dy: f32, sum: f32) -> f32 {
    return dy - share_below(y) * sum;
}
