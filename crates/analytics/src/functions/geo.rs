//! Places on the earth, taken as a sphere of 6,371,010 m: distances, shapes in GeoJSON, geohashes, H3 cells.
//!
//! Longitudes come first, in degrees. A place that is none (`|longitude| > 180`, `|latitude| > 90`) and a shape that is
//! none make the result null (`""` where it is a text).

use gantry_kql::value::{Bag, Dynamic, Value};
use h3o::{CellIndex, LatLng, Resolution};

use super::Implementation::Lax;
use super::{Call, Family, or_null, text};
use crate::column::Cell;

const RADIUS: f64 = 6_371_010.0;

pub(super) const FUNCTIONS: Family = &[
    (
        "geo_distance_2points",
        Lax(|cells, _| or_null(point(cells, 0).zip(point(cells, 2)), |(a, b)| Value::Real(RADIUS * a.angle(b)))),
    ),
    ("geo_azimuth", Lax(|cells, _| or_null(point(cells, 0).zip(point(cells, 2)), |(a, b)| Value::Real(a.azimuth(b))))),
    ("geo_angle", Lax(angle)),
    (
        "geo_point_in_circle",
        Lax(|cells, _| {
            let radius = cells[4].real().filter(|radius| *radius > 0.0);
            or_null(point(cells, 0).zip(point(cells, 2)).zip(radius), |((a, b), r)| {
                Value::Bool(RADIUS * a.angle(b) <= r)
            })
        }),
    ),
    (
        "geo_point_in_polygon",
        Lax(|cells, _| {
            or_null(point(cells, 0).zip(polygons(cells[2])), |(p, all)| {
                Value::Bool(all.iter().any(|one| one.contains(p)))
            })
        }),
    ),
    (
        "geo_distance_point_to_line",
        Lax(|cells, _| {
            let closest = point(cells, 0).zip(lines(cells[2]));
            or_null(closest.and_then(|(p, lines)| nearest(p, &lines)), |(_, distance)| Value::Real(distance))
        }),
    ),
    (
        "geo_distance_point_to_polygon",
        Lax(|cells, _| {
            let both = point(cells, 0).zip(polygons(cells[2]));
            or_null(both.and_then(|(p, all)| nearest_of_polygons(p, &all)), |(_, distance)| Value::Real(distance))
        }),
    ),
    (
        "geo_closest_point_on_line",
        Lax(|cells, _| {
            let closest = point(cells, 0).zip(lines(cells[2]));
            or_null(closest.and_then(|(p, lines)| nearest(p, &lines)), |(at, _)| point_json(at))
        }),
    ),
    (
        "geo_closest_point_on_polygon",
        Lax(|cells, _| {
            let both = point(cells, 0).zip(polygons(cells[2]));
            or_null(both.and_then(|(p, all)| nearest_of_polygons(p, &all)), |(at, _)| point_json(at))
        }),
    ),
    (
        "geo_line_length",
        Lax(|cells, _| or_null(lines(cells[0]), |lines| Value::Real(lines.iter().map(|line| length(line)).sum()))),
    ),
    (
        "geo_polygon_perimeter",
        Lax(|cells, _| {
            or_null(polygons(cells[0]), |all| {
                Value::Real(all.iter().flat_map(|one| &one.0).map(|ring| length(ring)).sum())
            })
        }),
    ),
    (
        "geo_polygon_area",
        Lax(|cells, _| or_null(polygons(cells[0]), |all| Value::Real(all.iter().map(Polygon::area).sum()))),
    ),
    (
        "geo_intersects_2lines",
        Lax(|cells, _| or_null(lines(cells[0]).zip(lines(cells[1])), |(a, b)| Value::Bool(cross(&a, &b)))),
    ),
    (
        "geo_intersects_line_with_polygon",
        Lax(|cells, _| or_null(lines(cells[0]).zip(polygons(cells[1])), |(a, b)| Value::Bool(meets(&a, &b)))),
    ),
    (
        "geo_intersects_2polygons",
        Lax(|cells, _| {
            or_null(polygons(cells[0]).zip(polygons(cells[1])), |(a, b)| {
                let rings = |all: &[Polygon]| all.iter().flat_map(|one| one.0.clone()).collect::<Vec<_>>();
                Value::Bool(meets(&rings(&a), &b) || meets(&rings(&b), &a))
            })
        }),
    ),
    ("geo_point_to_geohash", Lax(point_to_geohash)),
    (
        "geo_geohash_to_central_point",
        Lax(|cells, _| or_null(geohash(&cells[0].text()), |bounds| point_json(bounds.middle()))),
    ),
    (
        "geo_geohash_to_polygon",
        Lax(|cells, _| or_null(geohash(&cells[0].text()), |bounds| ring_json(&bounds.corners()))),
    ),
    ("geo_geohash_neighbors", Lax(geohash_neighbors)),
    ("geo_point_to_h3cell", Lax(point_to_h3)),
    (
        "geo_h3cell_to_central_point",
        Lax(|cells, _| or_null(h3(cells[0]), |cell| point_json(Point::of(LatLng::from(cell))))),
    ),
    (
        "geo_h3cell_to_polygon",
        Lax(|cells, _| {
            or_null(h3(cells[0]), |cell| {
                let mut ring: Vec<Point> = cell.boundary().iter().map(|at| Point::of(*at)).collect();
                ring.extend(ring.first().copied());
                ring_json(&ring)
            })
        }),
    ),
    (
        "geo_h3cell_level",
        Lax(|cells, _| or_null(h3(cells[0]), |cell| Value::Long(i64::from(u8::from(cell.resolution()))))),
    ),
    ("geo_h3cell_parent", Lax(h3_parent)),
    ("geo_h3cell_children", Lax(h3_children)),
    (
        "geo_h3cell_neighbors",
        Lax(|cells, _| {
            or_null(h3(cells[0]), |cell| {
                h3_list(cell.grid_disk::<Vec<_>>(1).into_iter().filter(|other| *other != cell))
            })
        }),
    ),
    ("geo_h3cell_rings", Lax(h3_rings)),
];

/// A place, in degrees.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Point {
    longitude: f64,
    latitude: f64,
}

impl Point {
    fn new(longitude: f64, latitude: f64) -> Option<Point> {
        let there = longitude.abs() <= 180.0 && latitude.abs() <= 90.0;
        there.then_some(Point { longitude, latitude })
    }

    fn of(at: LatLng) -> Point {
        Point { longitude: at.lng(), latitude: at.lat() }
    }

    /// On the unit sphere.
    fn vector(self) -> [f64; 3] {
        let (longitude, latitude) = (self.longitude.to_radians(), self.latitude.to_radians());
        [latitude.cos() * longitude.cos(), latitude.cos() * longitude.sin(), latitude.sin()]
    }

    fn from_vector([x, y, z]: [f64; 3]) -> Point {
        Point { longitude: y.atan2(x).to_degrees(), latitude: z.atan2(x.hypot(y)).to_degrees() }
    }

    /// The angle between two places, seen from the middle of the earth (haversine: exact for near places too).
    fn angle(self, other: Point) -> f64 {
        let (a, b) = (self.latitude.to_radians(), other.latitude.to_radians());
        let (north, east) = ((b - a) / 2.0, (other.longitude - self.longitude).to_radians() / 2.0);
        let h = north.sin().powi(2) + a.cos() * b.cos() * east.sin().powi(2);
        2.0 * h.sqrt().min(1.0).asin()
    }

    /// Direction to another place, from north over east.
    fn azimuth(self, other: Point) -> f64 {
        let (a, b) = (self.latitude.to_radians(), other.latitude.to_radians());
        let east = (other.longitude - self.longitude).to_radians();
        let direction = (east.sin() * b.cos()).atan2(a.cos() * b.sin() - a.sin() * b.cos() * east.cos());
        direction.rem_euclid(std::f64::consts::TAU)
    }
}

fn point(cells: &[Cell], at: usize) -> Option<Point> {
    Point::new(cells.get(at)?.number()?, cells.get(at + 1)?.number()?)
}

/// The angle at the middle one of three places, from the first over east to the last; null where two of them are one.
fn angle(cells: &[Cell], _: &Call) -> Value {
    let (Some(a), Some(b), Some(c)) = (point(cells, 0), point(cells, 2), point(cells, 4)) else { return Value::Null };
    if a == b || b == c {
        return Value::Null;
    }
    let turn = (b.azimuth(c) - b.azimuth(a)).rem_euclid(std::f64::consts::TAU);
    Value::Real(turn)
}

fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

fn cross_product(a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

fn unit(a: [f64; 3]) -> Option<[f64; 3]> {
    let length = dot(a, a).sqrt();
    (length > 1e-15).then(|| a.map(|part| part / length))
}

type Line = Vec<Point>;

/// Rings, the outer one first, each ending where it began.
struct Polygon(Vec<Line>);

impl Polygon {
    fn contains(&self, at: Point) -> bool {
        self.0.iter().enumerate().all(|(place, ring)| winds_around(ring, at) == (place == 0))
    }

    /// By the angles of its corners around the pole (Chamberlain and Duquette, 2007).
    fn area(&self) -> f64 {
        let of_ring = |ring: &Line| {
            let sum: f64 = ring
                .windows(2)
                .map(|pair| {
                    let east = (pair[1].longitude - pair[0].longitude).to_radians();
                    east * (2.0 + pair[0].latitude.to_radians().sin() + pair[1].latitude.to_radians().sin())
                })
                .sum();
            (sum * RADIUS * RADIUS / 2.0).abs()
        };
        let areas: Vec<f64> = self.0.iter().map(of_ring).collect();
        areas[0] - areas[1..].iter().sum::<f64>()
    }
}

/// Whether a ring goes around a place: edges are great circles, so they are projected from the place onto a plane.
fn winds_around(ring: &[Point], at: Point) -> bool {
    let total: f64 = ring
        .windows(2)
        .map(|pair| {
            let turn = (at.azimuth(pair[1]) - at.azimuth(pair[0])).rem_euclid(std::f64::consts::TAU);
            if turn > std::f64::consts::PI { turn - std::f64::consts::TAU } else { turn }
        })
        .sum();
    total.abs() > std::f64::consts::PI
}

fn coordinate(value: &Dynamic) -> Option<Point> {
    let longitude = Cell::from(value.element(0)?).number()?;
    let latitude = Cell::from(value.element(1)?).number()?;
    Point::new(longitude, latitude)
}

fn items(value: &Dynamic) -> Option<&[Dynamic]> {
    match value {
        Dynamic::Array(items) => Some(items),
        _ => None,
    }
}

fn line(value: &Dynamic) -> Option<Line> {
    let line = items(value)?.iter().map(coordinate).collect::<Option<Line>>()?;
    (line.len() >= 2).then_some(line)
}

fn polygon(value: &Dynamic) -> Option<Polygon> {
    let rings = items(value)?.iter().map(line).collect::<Option<Vec<Line>>>()?;
    let is_ring = |ring: &Line| {
        let corners = &ring[..ring.len() - 1];
        let repeats = corners.windows(2).any(|pair| pair[0] == pair[1]);
        ring.len() >= 4 && ring.first() == ring.last() && !repeats
    };
    (!rings.is_empty() && rings.iter().all(is_ring)).then_some(Polygon(rings))
}

/// Type and coordinates of a shape.
fn shape<'a>(cell: Cell<'a>) -> Option<(&'a str, &'a Dynamic)> {
    let Cell::Dynamic(value) = cell else { return None };
    match (value.member("type")?, value.member("coordinates")?) {
        (Dynamic::String(kind), coordinates) => Some((kind, coordinates)),
        _ => None,
    }
}

fn lines(cell: Cell) -> Option<Vec<Line>> {
    match shape(cell)? {
        ("LineString", coordinates) => Some(vec![line(coordinates)?]),
        ("MultiLineString", coordinates) => items(coordinates)?.iter().map(line).collect(),
        _ => None,
    }
}

fn polygons(cell: Cell) -> Option<Vec<Polygon>> {
    match shape(cell)? {
        ("Polygon", coordinates) => Some(vec![polygon(coordinates)?]),
        ("MultiPolygon", coordinates) => items(coordinates)?.iter().map(polygon).collect(),
        _ => None,
    }
}

fn length(line: &[Point]) -> f64 {
    line.windows(2).map(|pair| RADIUS * pair[0].angle(pair[1])).sum()
}

/// The place of some lines nearest to another, and how far it is.
fn nearest(at: Point, lines: &[Line]) -> Option<(Point, f64)> {
    let mut best: Option<(Point, f64)> = None;
    for pair in lines.iter().flat_map(|line| line.windows(2)) {
        for candidate in [Some(pair[0]), Some(pair[1]), foot(at, pair[0], pair[1])].into_iter().flatten() {
            let distance = RADIUS * at.angle(candidate);
            if best.is_none_or(|(_, least)| distance < least) {
                best = Some((candidate, distance));
            }
        }
    }
    best
}

/// Where the perpendicular from a place meets an arc, if it does.
fn foot(at: Point, from: Point, to: Point) -> Option<Point> {
    let normal = unit(cross_product(from.vector(), to.vector()))?;
    let p = at.vector();
    let off = dot(p, normal);
    let foot = unit([p[0] - off * normal[0], p[1] - off * normal[1], p[2] - off * normal[2]])?;
    let within =
        dot(cross_product(from.vector(), foot), normal) >= 0.0 && dot(cross_product(foot, to.vector()), normal) >= 0.0;
    within.then(|| Point::from_vector(foot))
}

/// A place within is nearest to itself.
fn nearest_of_polygons(at: Point, all: &[Polygon]) -> Option<(Point, f64)> {
    if all.iter().any(|one| one.contains(at)) {
        return Some((at, 0.0));
    }
    let rings: Vec<Line> = all.iter().flat_map(|one| one.0.clone()).collect();
    nearest(at, &rings)
}

fn cross(a: &[Line], b: &[Line]) -> bool {
    let arcs = |lines: &[Line]| {
        lines
            .iter()
            .flat_map(|line| line.windows(2).map(|pair| (pair[0], pair[1])).collect::<Vec<_>>())
            .collect::<Vec<_>>()
    };
    let others = arcs(b);
    arcs(a).iter().any(|one| others.iter().any(|other| arcs_meet(*one, *other)))
}

/// Whether two arcs meet: each one's ends lie on both sides of the other's great circle, on the same half of the earth.
fn arcs_meet((a, b): (Point, Point), (c, d): (Point, Point)) -> bool {
    if a == c || a == d || b == c || b == d {
        return true;
    }
    let (va, vb, vc, vd) = (a.vector(), b.vector(), c.vector(), d.vector());
    let (n, m) = (cross_product(va, vb), cross_product(vc, vd));
    let (s, t) = ([dot(vc, n), dot(vd, n)], [dot(va, m), dot(vb, m)]);
    s[0] * s[1] < 0.0 && t[0] * t[1] < 0.0 && dot(va, vc) > 0.0
}

/// Whether lines touch polygons: they cross a ring, or lie within.
fn meets(lines: &[Line], all: &[Polygon]) -> bool {
    let rings: Vec<Line> = all.iter().flat_map(|one| one.0.clone()).collect();
    cross(lines, &rings) || lines.iter().any(|line| all.iter().any(|one| one.contains(line[0])))
}

fn pair(at: Point) -> Dynamic {
    Dynamic::Array(vec![Dynamic::Real(at.longitude), Dynamic::Real(at.latitude)])
}

fn geo_json(kind: &str, coordinates: Dynamic) -> Value {
    let entries = vec![("type".to_owned(), Dynamic::String(kind.to_owned())), ("coordinates".to_owned(), coordinates)];
    Value::Dynamic(Dynamic::Bag(Bag::from_entries(entries)))
}

fn point_json(at: Point) -> Value {
    geo_json("Point", pair(at))
}

fn ring_json(ring: &[Point]) -> Value {
    geo_json("Polygon", Dynamic::Array(vec![Dynamic::Array(ring.iter().map(|at| pair(*at)).collect())]))
}

const GEOHASH: &[u8; 32] = b"0123456789bcdefghjkmnpqrstuvwxyz";
const GEOHASH_LENGTH_MAX: i64 = 18;

/// The rectangle of a geohash.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    west: f64,
    south: f64,
    east: f64,
    north: f64,
}

impl Bounds {
    fn middle(self) -> Point {
        Point { longitude: (self.west + self.east) / 2.0, latitude: (self.south + self.north) / 2.0 }
    }

    fn corners(self) -> [Point; 5] {
        let at = |longitude, latitude| Point { longitude, latitude };
        let first = at(self.west, self.south);
        [first, at(self.east, self.south), at(self.east, self.north), at(self.west, self.north), first]
    }
}

fn encode(at: Point, length: usize) -> String {
    let mut bounds = Bounds { west: -180.0, south: -90.0, east: 180.0, north: 90.0 };
    let mut hash = String::with_capacity(length);
    let mut east = true;
    for _ in 0..length {
        let mut bits = 0;
        for _ in 0..5 {
            let (value, low, high) = if east {
                (at.longitude, &mut bounds.west, &mut bounds.east)
            } else {
                (at.latitude, &mut bounds.south, &mut bounds.north)
            };
            let middle = (*low + *high) / 2.0;
            bits <<= 1;
            if value >= middle {
                bits |= 1;
                *low = middle;
            } else {
                *high = middle;
            }
            east = !east;
        }
        hash.push(char::from(GEOHASH[bits]));
    }
    hash
}

fn geohash(hash: &str) -> Option<Bounds> {
    if hash.is_empty() || hash.len() as i64 > GEOHASH_LENGTH_MAX {
        return None;
    }
    let mut bounds = Bounds { west: -180.0, south: -90.0, east: 180.0, north: 90.0 };
    let mut east = true;
    for letter in hash.bytes() {
        let bits = GEOHASH.iter().position(|known| *known == letter.to_ascii_lowercase())?;
        for bit in (0..5).rev() {
            let (low, high) =
                if east { (&mut bounds.west, &mut bounds.east) } else { (&mut bounds.south, &mut bounds.north) };
            let middle = (*low + *high) / 2.0;
            if bits >> bit & 1 == 1 {
                *low = middle
            } else {
                *high = middle
            }
            east = !east;
        }
    }
    Some(bounds)
}

fn point_to_geohash(cells: &[Cell], _: &Call) -> Value {
    let length = match cells.get(2) {
        Some(cell) => cell.long(),
        None => Some(5),
    };
    let length = length.filter(|length| (1..=GEOHASH_LENGTH_MAX).contains(length));
    point(cells, 0).zip(length).map_or(text(""), |(at, length)| text(encode(at, length as usize)))
}

/// East and north of the eight around one, in the order of the reference.
const NEIGHBORS: [(f64, f64); 8] =
    [(-1.0, -1.0), (-1.0, 1.0), (1.0, -1.0), (0.0, 1.0), (-1.0, 0.0), (1.0, 1.0), (1.0, 0.0), (0.0, -1.0)];

/// The eight around one.
fn geohash_neighbors(cells: &[Cell], _: &Call) -> Value {
    let hash = cells[0].text();
    let Some(bounds) = geohash(&hash) else { return Value::Null };
    let (width, height) = (bounds.east - bounds.west, bounds.north - bounds.south);
    let middle = bounds.middle();
    let mut found = Vec::with_capacity(8);
    for (east, north) in NEIGHBORS {
        let longitude = (middle.longitude + east * width + 540.0).rem_euclid(360.0) - 180.0;
        let latitude = middle.latitude + north * height;
        if latitude.abs() <= 90.0 {
            found.push(Dynamic::String(encode(Point { longitude, latitude }, hash.len())));
        }
    }
    if found.len() < 8 && hash.len() == 1 { Value::Null } else { Value::Dynamic(Dynamic::Array(found)) }
}

fn h3(cell: Cell) -> Option<CellIndex> {
    cell.text().parse().ok()
}

fn resolution(level: i64) -> Option<Resolution> {
    Resolution::try_from(u8::try_from(level).ok()?).ok()
}

fn point_to_h3(cells: &[Cell], _: &Call) -> Value {
    let level = match cells.get(2) {
        Some(cell) => cell.long(),
        None => Some(6),
    };
    let at = point(cells, 0).and_then(|at| LatLng::new(at.latitude, at.longitude).ok());
    at.zip(level.and_then(resolution)).map_or(text(""), |(at, level)| text(at.to_cell(level).to_string()))
}

fn h3_parent(cells: &[Cell], _: &Call) -> Value {
    let Some(cell) = h3(cells[0]) else { return text("") };
    let level = match cells.get(1) {
        Some(level) => level.long(),
        None => Some(i64::from(u8::from(cell.resolution())) - 1),
    };
    let parent =
        level.and_then(resolution).filter(|level| *level < cell.resolution()).and_then(|level| cell.parent(level));
    parent.map_or(text(""), |parent| text(parent.to_string()))
}

fn h3_list(cells: impl IntoIterator<Item = CellIndex>) -> Value {
    Value::Dynamic(Dynamic::Array(cells.into_iter().map(|cell| Dynamic::String(cell.to_string())).collect()))
}

/// Levels between a cell and the children that are asked for: 7^6 cells at most.
const H3_LEVELS_MAX: u8 = 6;

fn h3_children(cells: &[Cell], _: &Call) -> Value {
    let Some(cell) = h3(cells[0]) else { return Value::Null };
    let own = u8::from(cell.resolution());
    let level = match cells.get(1) {
        Some(level) => level.long(),
        None => Some(i64::from(own) + 1),
    };
    let level = level.and_then(resolution).filter(|level| {
        let level = u8::from(*level);
        level > own && level - own < H3_LEVELS_MAX
    });
    or_null(level, |level| h3_list(cell.children(level)))
}

/// Rings around a cell, from itself outwards.
fn h3_rings(cells: &[Cell], _: &Call) -> Value {
    let Some(cell) = h3(cells[0]) else { return Value::Null };
    let rings = cells.get(1).and_then(|cell| cell.long()).filter(|rings| (0..=40).contains(rings));
    or_null(rings, |rings| {
        let mut all: Vec<Vec<Dynamic>> = vec![Vec::new(); rings as usize + 1];
        for (other, ring) in cell.grid_disk_distances::<Vec<_>>(rings as u32) {
            all[ring as usize].push(Dynamic::String(other.to_string()));
        }
        Value::Dynamic(Dynamic::Array(all.into_iter().map(Dynamic::Array).collect()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(longitude: f64, latitude: f64) -> Point {
        Point::new(longitude, latitude).unwrap()
    }

    #[test]
    fn distances_are_those_of_the_sphere() {
        let meters = RADIUS * at(-122.407628, 47.578557).angle(at(-118.275287, 34.019056));
        assert!((meters - 1_546_754.351_973_81).abs() < 1e-3);
        assert!(Point::new(181.0, 0.0).is_none());
    }

    #[test]
    fn a_geohash_and_its_rectangle_agree() {
        for length in 1..=12 {
            let bounds = geohash(&encode(at(-80.195829, 25.802215), length)).unwrap();
            assert!(bounds.west <= -80.195829 && bounds.east > -80.195829 && bounds.south <= 25.802215);
        }
        assert_eq!(encode(at(-80.195829, 25.802215), 8), "dhwfz15h");
        assert!(geohash("a").is_none() && geohash("").is_none());
    }

    #[test]
    fn arcs_meet_where_they_cross() {
        assert!(arcs_meet((at(0.0, 0.0), at(2.0, 2.0)), (at(0.0, 2.0), at(2.0, 0.0))));
        assert!(!arcs_meet((at(0.0, 0.0), at(1.0, 1.0)), (at(3.0, 3.0), at(4.0, 4.0))));
        assert!(!arcs_meet((at(0.0, 0.0), at(2.0, 2.0)), (at(180.0, -2.0), at(-178.0, 0.0))));
    }
}
