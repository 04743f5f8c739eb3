//! What can be chosen: names with a domain each.
//!
//! Every domain but a choice is an interval of *coordinates*: the numbers themselves, or their logarithms.
//! Integers stand for the coordinates up to half a step away, so that the lowest and the highest are drawn
//! as often as others.

use serde::Serialize;
use serde_json::{Map, Value as Json};

use super::SearchError;

/// Points of a grid at most: years of trials.
const MOST_POINTS: u32 = 1_000_000;

/// A value of a dimension.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    /// Index of a choice.
    Choice(usize),
    /// An integer.
    Integer(i64),
    /// A real number.
    Real(f64),
}

/// How the numbers of a range lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scale {
    /// Evenly.
    Linear,
    /// Their logarithms evenly: as many from 1 to 10 as from 10 to 100.
    Log,
}

/// What a dimension can be.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Domain {
    /// One of these names.
    Choice(Vec<String>),
    /// An integer, both ends included.
    Integer {
        /// Least.
        low: i64,
        /// Largest.
        high: i64,
        /// How they lie.
        scale: Scale,
        /// Points in a grid; without it all, on a linear scale.
        points: Option<u32>,
    },
    /// A real number, both ends included.
    Real {
        /// Least.
        low: f64,
        /// Largest.
        high: f64,
        /// How they lie.
        scale: Scale,
        /// Points in a grid.
        points: Option<u32>,
    },
}

impl Domain {
    /// A real number on a linear scale.
    pub const fn uniform(low: f64, high: f64) -> Self {
        Self::Real {
            low,
            high,
            scale: Scale::Linear,
            points: None,
        }
    }

    /// A real number on a logarithmic scale.
    pub const fn log_uniform(low: f64, high: f64) -> Self {
        Self::Real {
            low,
            high,
            scale: Scale::Log,
            points: None,
        }
    }

    fn check(&self, name: &str) -> Result<(), SearchError> {
        let refuse = |what, given: String, allowed| {
            Err(SearchError::Domain {
                name: name.to_owned(),
                what,
                given,
                allowed,
            })
        };
        let (low, high, scale, points) = match *self {
            Self::Choice(ref names) => {
                if names.is_empty() {
                    return refuse("the number of choices", "0".into(), "at least 1");
                }
                let twice = (1..names.len()).find(|&at| names[..at].contains(&names[at]));
                return match twice {
                    None => Ok(()),
                    Some(at) => refuse("a choice", format!("`{}` twice", names[at]), "once each"),
                };
            }
            Self::Integer {
                low,
                high,
                scale,
                points,
            } => {
                // Coordinates are f64.
                const EXACT: i64 = 1 << 53;
                for (what, end) in [("the low end", low), ("the high end", high)] {
                    if !(-EXACT..=EXACT).contains(&end) {
                        return refuse(what, end.to_string(), "-2^53 to 2^53");
                    }
                }
                (low as f64, high as f64, scale, points)
            }
            Self::Real {
                low,
                high,
                scale,
                points,
            } => (low, high, scale, points),
        };
        if !(low.is_finite() && high.is_finite() && (high - low).is_finite()) {
            return refuse("the range", format!("{low} to {high}"), "finite");
        }
        if scale == Scale::Log && low <= 0.0 {
            return refuse(
                "the low end",
                low.to_string(),
                "above 0 on a logarithmic scale",
            );
        }
        if low >= high {
            return refuse("the high end", high.to_string(), "above the low end");
        }
        match points {
            Some(points @ ..=1) => refuse("the number of points", points.to_string(), "at least 2"),
            Some(_) | None => Ok(()),
        }
    }

    /// Ends of the coordinates; `None` for choices.
    pub(super) fn interval(&self) -> Option<(f64, f64)> {
        match *self {
            Self::Choice(_) => None,
            Self::Integer {
                low, high, scale, ..
            } => Some((
                coordinate(low as f64 - 0.5, scale),
                coordinate(high as f64 + 0.5, scale),
            )),
            Self::Real {
                low, high, scale, ..
            } => Some((coordinate(low, scale), coordinate(high, scale))),
        }
    }

    /// The coordinates that a value stands for: two ends of an integer's, one of a real number's.
    pub(super) fn place(&self, value: Value) -> (f64, f64) {
        match (self, value) {
            (Self::Integer { scale, .. }, Value::Integer(value)) => (
                coordinate(value as f64 - 0.5, *scale),
                coordinate(value as f64 + 0.5, *scale),
            ),
            (Self::Real { scale, .. }, Value::Real(value)) => {
                let at = coordinate(value, *scale);
                (at, at)
            }
            // Values are made and read by their own domain.
            (_, _) => (0.0, 0.0),
        }
    }

    /// The value at a coordinate.
    pub(super) fn at(&self, coordinate: f64) -> Value {
        let number = |scale| match scale {
            Scale::Linear => coordinate,
            Scale::Log => coordinate.exp(),
        };
        match *self {
            Self::Choice(_) => Value::Choice(0),
            Self::Integer {
                low, high, scale, ..
            } => Value::Integer((number(scale).round() as i64).clamp(low, high)),
            Self::Real {
                low, high, scale, ..
            } => Value::Real(number(scale).clamp(low, high)),
        }
    }

    /// Points in a grid.
    fn grid(&self, name: &str) -> Result<Vec<Value>, SearchError> {
        let (low, high, scale, points) = match *self {
            Self::Choice(ref names) => return Ok((0..names.len()).map(Value::Choice).collect()),
            Self::Integer {
                low,
                high,
                scale: Scale::Linear,
                points: None,
            } => {
                let count = i128::from(high) - i128::from(low) + 1;
                if count > i128::from(MOST_POINTS) {
                    return Err(SearchError::GridTooLarge {
                        given: count.unsigned_abs(),
                        most: MOST_POINTS,
                    });
                }
                return Ok((low..=high).map(Value::Integer).collect());
            }
            Self::Integer {
                low,
                high,
                scale,
                points,
            } => (low as f64, high as f64, scale, points),
            Self::Real {
                low,
                high,
                scale,
                points,
            } => (low, high, scale, points),
        };
        let Some(points) = points else {
            return Err(SearchError::NoPoints {
                name: name.to_owned(),
            });
        };
        if points > MOST_POINTS {
            return Err(SearchError::GridTooLarge {
                given: points.into(),
                most: MOST_POINTS,
            });
        }
        let (from, to) = (coordinate(low, scale), coordinate(high, scale));
        let last = points - 1;
        let point = |index: u32| match index {
            0 => self.at(from),
            index if index == last => self.at(to),
            index => self.at(from + (to - from) * f64::from(index) / f64::from(last)),
        };
        let mut values: Vec<Value> = (0..points).map(point).collect();
        // Integers closer than a step round to one.
        values.dedup();
        Ok(values)
    }
}

fn coordinate(number: f64, scale: Scale) -> f64 {
    match scale {
        Scale::Linear => number,
        Scale::Log => number.ln(),
    }
}

/// A name and what it can be.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Dimension {
    /// Its name.
    pub name: String,
    /// What it can be.
    pub domain: Domain,
}

/// All that is searched, checked when made.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Space {
    dimensions: Vec<Dimension>,
}

impl Space {
    /// A space of at least one dimension.
    ///
    /// # Errors
    /// [`SearchError::NoDimensions`], [`SearchError::Twice`], [`SearchError::Domain`].
    pub fn new(dimensions: Vec<Dimension>) -> Result<Self, SearchError> {
        if dimensions.is_empty() {
            return Err(SearchError::NoDimensions);
        }
        for (index, Dimension { name, domain }) in dimensions.iter().enumerate() {
            if dimensions[..index].iter().any(|other| other.name == *name) {
                return Err(SearchError::Twice { name: name.clone() });
            }
            domain.check(name)?;
        }
        Ok(Self { dimensions })
    }

    /// Its dimensions.
    pub fn dimensions(&self) -> &[Dimension] {
        &self.dimensions
    }

    /// Points of each dimension in a grid, whose product is at most a million.
    pub(super) fn grid(&self) -> Result<Vec<Vec<Value>>, SearchError> {
        let points = self.dimensions.iter().map(|one| one.domain.grid(&one.name));
        let points: Vec<Vec<Value>> = points.collect::<Result<_, _>>()?;
        let product = points.iter().fold(1u128, |product, values| {
            product.saturating_mul(values.len() as u128)
        });
        if product > u128::from(MOST_POINTS) {
            return Err(SearchError::GridTooLarge {
                given: product,
                most: MOST_POINTS,
            });
        }
        Ok(points)
    }

    /// Points of the grid: the product of the points of each dimension.
    ///
    /// # Errors
    /// [`SearchError::NoPoints`], [`SearchError::GridTooLarge`] beyond a million.
    pub fn n_grid(&self) -> Result<u32, SearchError> {
        Ok(self
            .grid()?
            .iter()
            .map(|values| values.len() as u32)
            .product())
    }

    /// Values by name, choices by theirs.
    pub(super) fn to_json(&self, values: &[Value]) -> Json {
        let pairs = self.dimensions.iter().zip(values).map(|(one, value)| {
            let json = match (&one.domain, value) {
                (Domain::Choice(names), Value::Choice(index)) => {
                    names.get(*index).cloned().unwrap_or_default().into()
                }
                (_, Value::Choice(index)) => (*index).into(),
                (_, Value::Integer(value)) => (*value).into(),
                (_, Value::Real(value)) => (*value).into(),
            };
            (one.name.clone(), json)
        });
        Json::Object(pairs.collect::<Map<_, _>>())
    }

    /// The inverse of [`Space::to_json`]; the error names what does not fit.
    pub(super) fn from_json(&self, json: &Json) -> Result<Vec<Value>, String> {
        let read = |one: &Dimension| {
            let given = json.get(&one.name).unwrap_or(&Json::Null);
            let value = match &one.domain {
                Domain::Choice(names) => {
                    let index = names.iter().position(|name| given.as_str() == Some(name));
                    index.map(Value::Choice)
                }
                Domain::Integer { low, high, .. } => {
                    let value = given.as_i64().filter(|value| (low..=high).contains(&value));
                    value.map(Value::Integer)
                }
                Domain::Real { low, high, .. } => {
                    let value = given.as_f64().filter(|value| (low..=high).contains(&value));
                    value.map(Value::Real)
                }
            };
            value.ok_or_else(|| format!("`{}` is {given}, which the space has not", one.name))
        };
        self.dimensions.iter().map(read).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space(domains: &[Domain]) -> Result<Space, SearchError> {
        let named = domains.iter().enumerate().map(|(index, domain)| Dimension {
            name: format!("d{index}"),
            domain: domain.clone(),
        });
        Space::new(named.collect())
    }

    fn integer(low: i64, high: i64, scale: Scale, points: Option<u32>) -> Domain {
        Domain::Integer {
            low,
            high,
            scale,
            points,
        }
    }

    #[test]
    fn points_of_a_grid_are_the_product_of_those_of_its_dimensions() {
        let three = Domain::Real {
            low: 1e-4,
            high: 1e-2,
            scale: Scale::Log,
            points: Some(3),
        };
        let names = Domain::Choice(vec!["a".into(), "b".into()]);
        let all = [three, names, integer(-1, 2, Scale::Linear, None)];
        let grid = space(&all).expect("valid");
        assert_eq!(grid.n_grid().expect("counted"), 3 * 2 * 4);
        let points = grid.grid().expect("counted");
        let Value::Real(middle) = points[0][1] else {
            panic!("{points:?}");
        };
        assert!((middle / 1e-3 - 1.0).abs() < 1e-12);
        assert_eq!(points[0][2], Value::Real(1e-2));
        // Three powers of two between 1 and 2: one number twice.
        let dense = space(&[integer(1, 2, Scale::Log, Some(5))]).expect("valid");
        assert_eq!(dense.n_grid().expect("counted"), 2);
    }

    #[test]
    fn domains_that_hold_nothing_are_refused_by_name() {
        for (domain, expected) in [
            (Domain::Choice(Vec::new()), "number of choices is 0"),
            (Domain::Choice(vec!["a".into(), "a".into()]), "`a` twice"),
            (Domain::uniform(1.0, 1.0), "the high end is 1"),
            (Domain::uniform(f64::NAN, 1.0), "the range is NaN to 1"),
            (Domain::uniform(-f64::MAX, f64::MAX), "finite"),
            (Domain::log_uniform(0.0, 1.0), "the low end is 0"),
            (integer(3, 2, Scale::Linear, None), "the high end is 2"),
            (integer(i64::MIN, 2, Scale::Linear, None), "-2^53 to 2^53"),
            (
                integer(1, 9, Scale::Linear, Some(1)),
                "number of points is 1",
            ),
        ] {
            let refused = space(&[domain]).expect_err("no domain").to_string();
            assert!(
                refused.starts_with("`d0`: ") && refused.contains(expected),
                "{refused}"
            );
        }
        assert!(matches!(space(&[]), Err(SearchError::NoDimensions)));
        let grid = |domains: &[Domain]| space(domains).and_then(|space| space.n_grid());
        let range = Domain::uniform(0.0, 1.0);
        assert!(matches!(grid(&[range]), Err(SearchError::NoPoints { .. })));
        let large = integer(1, 2000, Scale::Linear, None);
        assert!(matches!(
            grid(&[large.clone(), large]),
            Err(SearchError::GridTooLarge {
                given: 4_000_000,
                ..
            })
        ));
    }

    #[test]
    fn values_are_the_same_after_json() {
        let names = Domain::Choice(vec!["a".into(), "b".into()]);
        let all = [
            names,
            integer(0, 9, Scale::Linear, None),
            Domain::uniform(0.0, 1.0),
        ];
        let space = space(&all).expect("valid");
        let values = [Value::Choice(1), Value::Integer(4), Value::Real(0.1 + 0.2)];
        let text = space.to_json(&values).to_string();
        let json = serde_json::from_str(&text).expect("JSON");
        assert_eq!(space.from_json(&json).expect("fits"), values);
        for wrong in [
            r#"{"d0":"c"}"#,
            r#"{"d0":"a","d1":10}"#,
            r#"{"d0":"a","d1":1,"d2":"x"}"#,
        ] {
            let json = serde_json::from_str(wrong).expect("JSON");
            assert!(space.from_json(&json).is_err(), "{wrong}");
        }
    }
}
