//! Which of several versions no other beats in everything.

/// What a version costs and what it is worth.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// Less is better: bytes, or milliseconds.
    pub cost: f64,
    /// More is better: accuracy.
    pub worth: f64,
}

/// Whether `other` is at least as good as `this` in both and better in one.
pub fn is_dominated(this: Candidate, other: Candidate) -> bool {
    let as_good = other.cost <= this.cost && other.worth >= this.worth;
    as_good && (other.cost < this.cost || other.worth > this.worth)
}

/// For each candidate whether no other dominates it.
pub fn pareto(candidates: &[Candidate]) -> Vec<bool> {
    let is_free = |&this: &Candidate| !candidates.iter().any(|&other| is_dominated(this, other));
    candidates.iter().map(is_free).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_candidates_that_nothing_beats_are_on_the_front() {
        let of = |cost, worth| Candidate { cost, worth };
        let front = pareto(&[
            of(4.0, 0.9),
            of(2.0, 0.89),
            of(3.0, 0.88),
            of(1.0, 0.5),
            of(4.0, 0.9),
        ]);
        // Equal ones do not beat each other.
        assert_eq!(front, [true, true, false, true, true]);
    }
}
