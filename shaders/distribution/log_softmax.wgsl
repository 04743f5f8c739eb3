// The logarithm of the share of an element that lies `below` under the largest.

fn distributed(below: f32, sum: f32) -> f32 {
    return below - log(sum);
}
