//! Where a device is: a place, a small track around it, shapes on it.

use serde::Deserialize;
use serde_json::{Value, json};

use super::draw::Draw;
use super::numbers::{HOUR, MINUTE};

/// A place on the earth, in degrees.
#[derive(Clone, Copy, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// Latitude, -90 to 90.
    pub lat: f64,
    /// Longitude, -180 to 180.
    pub lon: f64,
}

/// Places where devices are that nobody put anywhere: cities of all continents.
const PLACES: [Place; 12] = [
    Place { lat: 47.606, lon: -122.332 },
    Place { lat: 19.433, lon: -99.133 },
    Place { lat: -23.551, lon: -46.633 },
    Place { lat: 41.878, lon: -87.630 },
    Place { lat: 51.507, lon: -0.128 },
    Place { lat: 48.137, lon: 11.575 },
    Place { lat: 59.329, lon: 18.069 },
    Place { lat: -1.286, lon: 36.817 },
    Place { lat: 28.614, lon: 77.209 },
    Place { lat: 35.690, lon: 139.692 },
    Place { lat: 1.352, lon: 103.820 },
    Place { lat: -33.869, lon: 151.209 },
];
/// How far from such a place they are at most, in degrees.
const AROUND: f64 = 0.08;
/// How far a track leads from its place, in degrees of latitude: some 200 m.
const RADIUS: f64 = 0.002;
/// Corners of a line or ring.
const CORNERS: i64 = 5;

/// The way a device moves around its place.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Track {
    place: Place,
    draw: Draw,
}

impl Track {
    pub(super) fn new(place: Place, draw: Draw) -> Self {
        Self { place: Place { lat: place.lat.clamp(-89.0, 89.0), lon: place.lon.clamp(-179.0, 179.0) }, draw }
    }

    /// Somewhere.
    pub(super) fn drawn(draw: Draw) -> Self {
        let near = draw.pick(&PLACES).copied().unwrap_or(Place { lat: 0.0, lon: 0.0 });
        let shift = |name| draw.of(name).between(-AROUND, AROUND);
        Self::new(Place { lat: near.lat + shift("lat"), lon: near.lon + shift("lon") }, draw)
    }

    /// The hour of the day by the sun, 0 to below 24.
    pub(super) fn hour(&self, at: i64) -> f64 {
        let universal = at.rem_euclid(24 * HOUR) as f64 / HOUR as f64;
        (universal + self.place.lon / 15.0).rem_euclid(24.0)
    }

    /// The place itself.
    pub(super) fn place(&self) -> Place {
        self.rounded(0.0, 0.0)
    }

    /// Where on the track something is.
    pub(super) fn at(&self, at: i64) -> Place {
        let round = self.draw.of("round").whole(30 * MINUTE, 90 * MINUTE);
        let turned = std::f64::consts::TAU * at.rem_euclid(round) as f64 / round as f64;
        let radius = RADIUS * (0.7 + 0.3 * self.draw.of("radius").smooth(at, HOUR));
        self.off(turned, radius)
    }

    fn off(&self, angle: f64, radius: f64) -> Place {
        self.rounded(radius * angle.sin(), radius * angle.cos() / self.place.lat.to_radians().cos())
    }

    /// To a tenth of a metre.
    fn rounded(&self, lat: f64, lon: f64) -> Place {
        let round = |degrees: f64| (degrees * 1e6).round() / 1e6;
        Place { lat: round(self.place.lat + lat), lon: round(self.place.lon + lon) }
    }

    /// A value of a geospatial schema by its word; none of another word.
    pub(super) fn shape(&self, word: &str, here: Place) -> Option<Value> {
        let around = Self::new(here, self.draw);
        let corner = |number: i64, radius: f64| {
            let at = around.off(std::f64::consts::TAU * number as f64 / CORNERS as f64, radius);
            json!([at.lon, at.lat])
        };
        let line = |radius: f64| Value::from_iter((0..CORNERS).map(|number| corner(number, radius)));
        // A ring ends where it began.
        let ring = |radius: f64| Value::from_iter((0..=CORNERS).map(|number| corner(number % CORNERS, radius)));
        let (kind, coordinates) = match word {
            "point" => ("Point", json!([here.lon, here.lat])),
            "multiPoint" => ("MultiPoint", line(RADIUS)),
            "lineString" => ("LineString", line(RADIUS)),
            "multiLineString" => ("MultiLineString", json!([line(RADIUS), line(2.0 * RADIUS)])),
            "polygon" => ("Polygon", json!([ring(RADIUS)])),
            "multiPolygon" => ("MultiPolygon", json!([[ring(RADIUS)]])),
            _ => return None,
        };
        Some(json!({ "type": kind, "coordinates": coordinates }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_track_stays_near_its_place_and_moves() {
        let track = Track::new(Place { lat: 60.0, lon: 10.0 }, Draw::new(1));
        let at = |minute: i64| track.at(minute * MINUTE);
        assert!((0..600).all(|minute| (at(minute).lat - 60.0).abs() <= RADIUS + 1e-6));
        assert!((0..600).all(|minute| (at(minute).lon - 10.0).abs() <= 2.0 * RADIUS + 1e-6));
        assert!((0..600).all(|minute| at(minute) != at(minute + 1)));
        let step = |minute: i64| (at(minute).lat - at(minute + 1).lat).abs();
        assert!((0..600).all(|minute| step(minute) < RADIUS / 3.0));
    }

    #[test]
    fn places_are_on_the_earth_wherever_they_are_put() {
        for (lat, lon) in [(90.0, 180.0), (-90.0, -180.0), (500.0, -500.0)] {
            let place = Track::new(Place { lat, lon }, Draw::new(1)).at(0);
            assert!((-90.0..=90.0).contains(&place.lat) && (-180.0..=180.0).contains(&place.lon), "{place:?}");
        }
    }

    #[test]
    fn hours_are_those_of_the_sun() {
        let noon = 12 * HOUR;
        let hour = |lon: f64, at: i64| Track::new(Place { lat: 0.0, lon }, Draw::new(1)).hour(at);
        assert!((hour(150.0, noon) - 22.0).abs() < 1e-9);
        assert!((hour(-150.0, noon) - 2.0).abs() < 1e-9);
        assert!((hour(0.0, -HOUR) - 23.0).abs() < 1e-9);
    }

    #[test]
    fn rings_are_closed() {
        let track = Track::drawn(Draw::new(9));
        let ring = &track.shape("polygon", track.place()).unwrap()["coordinates"][0];
        assert_eq!(ring[0], ring[CORNERS as usize]);
        assert_eq!(track.shape("circle", track.place()), None);
    }
}
