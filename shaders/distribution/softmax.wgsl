// The share of an element that lies `below` under the largest (a difference, never positive).

fn distributed(below: f32, sum: f32) -> f32 {
    return exp(max(below, -100.0)) / sum;
}
