//! Which device to look at first.
//!
//! Places are by urgency, ties by device id. So that places do not flap with
//! every message, a device is ranked by an urgency that follows the present one
//! only when that has moved by more than `HYSTERESIS`. Two devices can therefore
//! stand in the wrong order only while their urgencies differ by less than twice
//! that.

use std::collections::HashMap;

use crate::health::Assessment;

/// Change of urgency that can move a device to another place.
pub const HYSTERESIS: f64 = 0.03;

/// One place of the list.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// Device id.
    pub device_id: String,
    /// The present urgency and its cause.
    pub assessment: Assessment,
    /// The urgency the device is ranked by.
    ranked: f64,
}

/// The maintenance list: devices, the most urgent first.
#[derive(Clone, Debug, Default)]
pub struct List {
    places: Vec<Place>,
    /// The ranked urgency of each device, to find its place by search.
    ranked: HashMap<String, f64>,
}

impl List {
    /// An empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in a device's present assessment. Returns whether the order has changed.
    pub fn update(&mut self, device_id: &str, assessment: Assessment) -> bool {
        let Some(&ranked) = self.ranked.get(device_id) else {
            self.insert(Place { device_id: device_id.to_owned(), ranked: assessment.urgency, assessment });
            return true;
        };
        let before = self.find(ranked, device_id);
        if (assessment.urgency - ranked).abs() <= HYSTERESIS {
            self.places[before].assessment = assessment;
            return false;
        }
        let mut place = self.places.remove(before);
        place.assessment = assessment;
        place.ranked = assessment.urgency;
        self.insert(place) != before
    }

    /// Takes a device off the list. Returns whether it was there.
    pub fn remove(&mut self, device_id: &str) -> bool {
        let Some(ranked) = self.ranked.remove(device_id) else {
            return false;
        };
        let at = self.find(ranked, device_id);
        self.places.remove(at);
        true
    }

    /// The places, the most urgent first.
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    fn insert(&mut self, place: Place) -> usize {
        let at = self.position(place.ranked, &place.device_id).unwrap_or_else(|at| at);
        self.ranked.insert(place.device_id.clone(), place.ranked);
        self.places.insert(at, place);
        at
    }

    fn find(&self, ranked: f64, device_id: &str) -> usize {
        self.position(ranked, device_id).expect("every ranked device has a place")
    }

    fn position(&self, ranked: f64, device_id: &str) -> Result<usize, usize> {
        self.places.binary_search_by(|place| {
            ranked.total_cmp(&place.ranked).then_with(|| place.device_id.as_str().cmp(device_id))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::Cause;
    use proptest::prelude::*;

    fn of(urgency: f64) -> Assessment {
        Assessment { urgency, cause: Cause::AsExpected }
    }

    fn order(list: &List) -> Vec<&str> {
        list.places().iter().map(|place| place.device_id.as_str()).collect()
    }

    #[test]
    fn the_most_urgent_is_first_and_ties_go_by_id() {
        let mut list = List::new();
        for (device, urgency) in [("b", 0.2), ("c", 0.7), ("a", 0.2)] {
            assert!(list.update(device, of(urgency)));
        }
        assert_eq!(order(&list), ["c", "a", "b"]);
        assert!(list.update("b", of(0.9)));
        assert_eq!(order(&list), ["b", "c", "a"]);
        assert!(list.remove("c"));
        assert!(!list.remove("c"));
        assert_eq!(order(&list), ["b", "a"]);
    }

    #[test]
    fn places_do_not_flap_while_urgencies_cross_by_little() {
        let mut list = List::new();
        list.update("a", of(0.50));
        list.update("b", of(0.49));
        for round in 0..20 {
            let (a, b) = if round % 2 == 0 { (0.49, 0.51) } else { (0.51, 0.49) };
            assert!(!list.update("a", of(a)));
            assert!(!list.update("b", of(b)));
            assert_eq!(order(&list), ["a", "b"]);
            assert_eq!(list.places()[1].assessment.urgency, b);
        }
        assert!(list.update("b", of(0.60)));
        assert_eq!(order(&list), ["b", "a"]);
    }

    proptest! {
        #[test]
        fn order_follows_urgency_to_within_twice_the_hysteresis(
            updates in prop::collection::vec((0u8..8, 0.0..=1.0), 1..200),
        ) {
            let mut list = List::new();
            let mut last = std::collections::BTreeMap::new();
            for (device, urgency) in updates {
                let device = format!("device-{device}");
                list.update(&device, of(urgency));
                last.insert(device, urgency);
            }
            prop_assert_eq!(list.places().len(), last.len());
            for place in list.places() {
                prop_assert_eq!(place.assessment.urgency, last[&place.device_id]);
            }
            for pair in list.places().windows(2) {
                let ahead = pair[1].assessment.urgency - pair[0].assessment.urgency;
                prop_assert!(ahead <= 2.0 * HYSTERESIS + 1e-12);
            }
        }
    }
}
