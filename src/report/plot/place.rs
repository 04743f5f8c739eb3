//! Places for labels that cover nothing: the first free one of the places a label may have.

/// A rectangle in pixels, y downwards.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Place {
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) right: f64,
    pub(super) bottom: f64,
}

impl Place {
    pub(super) fn around((x, y): (f64, f64), width: f64, height: f64) -> Place {
        Place {
            left: x - width / 2.0,
            top: y - height / 2.0,
            right: x + width / 2.0,
            bottom: y + height / 2.0,
        }
    }

    pub(super) fn center(&self) -> (f64, f64) {
        (
            (self.left + self.right) / 2.0,
            (self.top + self.bottom) / 2.0,
        )
    }

    fn overlaps(&self, other: &Place) -> bool {
        self.left < other.right
            && other.left < self.right
            && self.top < other.bottom
            && other.top < self.bottom
    }

    fn lies_in(&self, area: &Place) -> bool {
        area.left <= self.left
            && self.right <= area.right
            && area.top <= self.top
            && self.bottom <= area.bottom
    }
}

/// What is taken of an area.
#[derive(Debug, Clone)]
pub(super) struct Places {
    area: Place,
    taken: Vec<Place>,
}

impl Places {
    pub(super) fn within(area: Place) -> Places {
        Places {
            area,
            taken: Vec::new(),
        }
    }

    pub(super) fn take(&mut self, places: impl IntoIterator<Item = Place>) {
        self.taken.extend(places);
    }

    /// The first candidate of which every part is free.
    pub(super) fn first_free<T>(
        &self,
        candidates: impl IntoIterator<Item = (T, Vec<Place>)>,
    ) -> Option<(T, Vec<Place>)> {
        let is_free = |place: &Place| {
            place.lies_in(&self.area) && !self.taken.iter().any(|taken| taken.overlaps(place))
        };
        candidates
            .into_iter()
            .find(|(_, parts)| parts.iter().all(is_free))
    }

    /// Takes a place for a label near a point: beside it, else on growing rings around it. `None`
    /// where all of that is taken.
    pub(super) fn near(&mut self, (x, y): (f64, f64), width: f64, height: f64) -> Option<Place> {
        const RINGS: [f64; 9] = [9.0, 15.0, 22.0, 30.0, 40.0, 52.0, 68.0, 90.0, 120.0];
        const DIRECTIONS: u8 = 16;
        let candidates = RINGS.iter().flat_map(|radius| {
            (0..DIRECTIONS).map(move |direction| {
                // Right, left, then what lies between, so that the common case reads like a list.
                let turn = f64::from(direction % 2) / 2.0 + f64::from(direction / 2) / 16.0;
                let (sin, cos) = (turn * std::f64::consts::TAU).sin_cos();
                let center = (
                    x + cos * (radius + width / 2.0),
                    y + sin * (radius + height / 2.0),
                );
                let place = Place::around(center, width, height);
                (place, vec![place])
            })
        });
        let (place, parts) = self.first_free(candidates)?;
        self.take(parts);
        Some(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_one_point_never_overlap() {
        let mut places = Places::within(Place::around((0.0, 0.0), 400.0, 400.0));
        let found: Vec<Place> = (0..60)
            .map_while(|_| places.near((0.0, 0.0), 16.0, 12.0))
            .collect();
        assert_eq!(found.len(), 60);
        for (i, place) in found.iter().enumerate() {
            assert!(place.lies_in(&places.area));
            assert!(found[..i].iter().all(|other| !other.overlaps(place)));
        }
        assert!(found[0].left > 0.0 && found[0].center().1 == 0.0);
    }

    #[test]
    fn a_full_area_has_no_place() {
        let mut places = Places::within(Place::around((0.0, 0.0), 20.0, 20.0));
        assert_eq!(places.near((0.0, 0.0), 16.0, 12.0), None);
    }
}
