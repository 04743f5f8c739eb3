// The gradient goes to the largest element, the first of equals.

import package::pool2d::params::params;
import package::pool2d::key::pool_key;
import package::window::{window_rows, window_columns};
import package::element::load_bits;

fn share(gradient: f32, plane: u32, window: vec2<u32>, place: vec2<u32>) -> f32 {
    let rows = window_rows(window.y);
    let columns = window_columns(window.x);
    let first = plane * params.height * params.width;
    let own = pool_key(load_bits(first + place.y * params.width + place.x));
    var is_first = true;
    for (var row = rows.x; row < rows.y; row++) {
        for (var column = columns.x; column < columns.y; column++) {
            let other = pool_key(load_bits(first + row * params.width + column));
            let is_before = row < place.y || (row == place.y && column < place.x);
            is_first = is_first && select(other <= own, other < own, is_before);
        }
    }
    return select(0.0, gradient, is_first);
}
