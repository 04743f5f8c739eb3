// The logarithm of the share of an element that lies `below` under the largest.

import package::lib::share::not_a_number;

fn distributed(below: f32, sum: f32) -> f32 {
    return select(below - log(sum), sum, not_a_number(sum));
}
