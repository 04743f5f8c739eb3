// Every element of a window gets the same share of its gradient.

import package::pool2d::params::window_area;
import package::window::{window_rows, window_columns};

fn share(gradient: f32, plane: u32, window: vec2<u32>, place: vec2<u32>) -> f32 {
    return gradient / window_area(window_rows(window.y), window_columns(window.x));
}
