//! Functions of places: GeoJSON points, lines and polygons on a sphere.
//!
//! Coordinates are GeoJSON's, longitude before latitude; distances are metres along great circles of the mean
//! radius of the earth. Whether shapes lie in each other is decided in the plane of longitude and latitude,
//! which is exact enough for a geofence and not for one around a pole or across the date line.

use std::sync::Arc;

use super::{Function, function, kind};
use crate::expr::Evaluated;
use crate::value::Value;

/// Mean radius of the earth in metres.
const RADIUS: f64 = 6_371_008.8;
/// Most points of one shape.
const POINTS_MAX: usize = 10_000;

pub(super) const FUNCTIONS: &[Function] = &[
    function("createpoint", 2, 2, |args| {
        let (Some(latitude), Some(longitude)) = (args[0].number(), args[1].number()) else {
            return nothing_of(args);
        };
        point(longitude, latitude)?;
        Ok(shape("Point", position(longitude, latitude)))
    }),
    function("createlinestring", 2, POINTS_MAX, |args| {
        let Some(points) = points(args)? else { return Ok(Value::Null) };
        Ok(shape("LineString", path(&points)))
    }),
    function("createpolygon", 4, POINTS_MAX, |args| {
        let Some(points) = points(args)? else { return Ok(Value::Null) };
        if points.first() != points.last() {
            return Err("the last point of a polygon is its first".to_owned());
        }
        Ok(shape("Polygon", Value::Array(vec![path(&points)].into())))
    }),
    function("st_distance", 2, 2, |args| {
        let Some((one, other)) = two(args)? else { return Ok(Value::Null) };
        Ok(Value::Float(one.distance(&other)))
    }),
    function("st_within", 2, 2, |args| {
        let Some((one, other)) = two(args)? else { return Ok(Value::Null) };
        let inside = other.is_area && one.points.iter().all(|point| other.contains(*point));
        let crosses = one.is_area && one.properly_crosses(&other);
        Ok(Value::Bigint(i64::from(inside && !crosses)))
    }),
    function("st_intersects", 2, 2, |args| {
        let Some((one, other)) = two(args)? else { return Ok(Value::Null) };
        Ok(Value::Bigint(i64::from(one.meets(&other))))
    }),
    function("st_overlaps", 2, 2, |args| {
        let Some((one, other)) = two(args)? else { return Ok(Value::Null) };
        if !one.is_area || !other.is_area {
            return Ok(Value::Bigint(0));
        }
        let covers = |inner: &Shape, outer: &Shape| {
            inner.points.iter().all(|point| outer.contains(*point)) && !inner.properly_crosses(outer)
        };
        let overlap = one.meets(&other) && !covers(&one, &other) && !covers(&other, &one);
        Ok(Value::Bigint(i64::from(overlap)))
    }),
];

/// Null when an argument is, else an error.
fn nothing_of(args: &[Value]) -> Evaluated {
    match args.iter().find(|arg| !arg.is_null() && arg.number().is_none()) {
        Some(arg) => Err(format!("a {} is no number", kind(arg))),
        None => Ok(Value::Null),
    }
}

type Place = (f64, f64);

fn point(longitude: f64, latitude: f64) -> Result<Place, String> {
    if (-180.0..=180.0).contains(&longitude) && (-90.0..=90.0).contains(&latitude) {
        Ok((longitude, latitude))
    } else {
        Err(format!("there is no place at latitude {latitude} and longitude {longitude}"))
    }
}

fn shape(name: &str, coordinates: Value) -> Value {
    let (kind_name, coordinates_name): (Arc<str>, Arc<str>) = ("type".into(), "coordinates".into());
    Value::record(vec![(kind_name, name.into()), (coordinates_name, coordinates)])
}

fn position(longitude: f64, latitude: f64) -> Value {
    Value::Array(vec![Value::Float(longitude), Value::Float(latitude)].into())
}

fn path(points: &[Place]) -> Value {
    Value::Array(points.iter().map(|(longitude, latitude)| position(*longitude, *latitude)).collect())
}

/// Arguments that are points; nothing when one is null.
fn points(args: &[Value]) -> Result<Option<Vec<Place>>, String> {
    let mut found = Vec::new();
    for arg in args {
        if arg.is_null() {
            return Ok(None);
        }
        let shape = Shape::of(arg)?;
        match (shape.points.as_slice(), shape.is_area) {
            ([place], false) => found.push(*place),
            _ => return Err("a shape is made of points".to_owned()),
        }
    }
    Ok(Some(found))
}

fn two(args: &[Value]) -> Result<Option<(Shape, Shape)>, String> {
    if args[0].is_null() || args[1].is_null() {
        return Ok(None);
    }
    Ok(Some((Shape::of(&args[0])?, Shape::of(&args[1])?)))
}

/// A point, a line, or the area within a closed line.
struct Shape {
    points: Vec<Place>,
    is_area: bool,
}

impl Shape {
    fn of(value: &Value) -> Result<Shape, String> {
        let wrong = || "this is no GeoJSON point, line or polygon without holes".to_owned();
        let place = |value: &Value| match value {
            Value::Array(numbers) => match (numbers.first(), numbers.get(1)) {
                (Some(longitude), Some(latitude)) => {
                    let longitude = longitude.number().ok_or_else(wrong)?;
                    point(longitude, latitude.number().ok_or_else(wrong)?)
                }
                _ => Err(wrong()),
            },
            _ => Err(wrong()),
        };
        let line = |value: &Value| match value {
            Value::Array(places) if (2..=POINTS_MAX).contains(&places.len()) => {
                places.iter().map(place).collect::<Result<Vec<_>, _>>()
            }
            _ => Err(wrong()),
        };
        let Value::Text(name) = value.member("type") else { return Err(wrong()) };
        let coordinates = value.member("coordinates");
        Ok(match &**name {
            "Point" => Shape { points: vec![place(coordinates)?], is_area: false },
            "LineString" => Shape { points: line(coordinates)?, is_area: false },
            "Polygon" => match coordinates {
                Value::Array(rings) if rings.len() == 1 => Shape { points: line(&rings[0])?, is_area: true },
                _ => return Err(wrong()),
            },
            _ => return Err(wrong()),
        })
    }

    fn sides(&self) -> impl Iterator<Item = (Place, Place)> + '_ {
        self.points.windows(2).map(|pair| (pair[0], pair[1]))
    }

    /// Whether a place is in the area or on its edge.
    fn contains(&self, place: Place) -> bool {
        let mut inside = false;
        for (from, to) in self.sides() {
            if on_segment(from, to, place) {
                return true;
            }
            let straddles = (from.1 > place.1) != (to.1 > place.1);
            if straddles && place.0 < (to.0 - from.0) * (place.1 - from.1) / (to.1 - from.1) + from.0 {
                inside = !inside;
            }
        }
        inside && self.is_area
    }

    /// Whether two shapes have a place in common.
    fn meets(&self, other: &Shape) -> bool {
        let covers =
            |area: &Shape, shape: &Shape| area.is_area && shape.points.iter().any(|place| area.contains(*place));
        if covers(self, other) || covers(other, self) {
            return true;
        }
        match (self.points.as_slice(), other.points.as_slice()) {
            ([one], [another]) => one == another,
            ([place], _) => other.sides().any(|(from, to)| on_segment(from, to, *place)),
            (_, [place]) => self.sides().any(|(from, to)| on_segment(from, to, *place)),
            _ => self.sides().any(|one| other.sides().any(|another| segments_meet(one, another))),
        }
    }

    /// Whether a side of one crosses a side of the other, not only touching it.
    fn properly_crosses(&self, other: &Shape) -> bool {
        self.sides().any(|(a, b)| {
            other.sides().any(|(c, d)| turn(a, b, c) * turn(a, b, d) < 0.0 && turn(c, d, a) * turn(c, d, b) < 0.0)
        })
    }

    /// Metres between the nearest places of two shapes.
    fn distance(&self, other: &Shape) -> f64 {
        if self.meets(other) {
            return 0.0;
        }
        let nearest = |shape: &Shape, place: Place| match shape.points.as_slice() {
            [one] => great_circle(*one, place),
            _ => shape.sides().map(|(from, to)| to_segment(from, to, place)).fold(f64::INFINITY, f64::min),
        };
        let one = self.points.iter().map(|place| nearest(other, *place));
        one.chain(other.points.iter().map(|place| nearest(self, *place))).fold(f64::INFINITY, f64::min)
    }
}

/// On which side of a line from `a` to `b` a place is.
fn turn(a: Place, b: Place, c: Place) -> f64 {
    (b.0 - a.0) * (c.1 - a.1) - (b.1 - a.1) * (c.0 - a.0)
}

fn on_segment(from: Place, to: Place, place: Place) -> bool {
    turn(from, to, place).abs() < 1e-12
        && (from.0.min(to.0)..=from.0.max(to.0)).contains(&place.0)
        && (from.1.min(to.1)..=from.1.max(to.1)).contains(&place.1)
}

fn segments_meet((a, b): (Place, Place), (c, d): (Place, Place)) -> bool {
    let crosses = turn(a, b, c) * turn(a, b, d) < 0.0 && turn(c, d, a) * turn(c, d, b) < 0.0;
    crosses || on_segment(a, b, c) || on_segment(a, b, d) || on_segment(c, d, a) || on_segment(c, d, b)
}

/// Metres between two places.
fn great_circle(one: Place, other: Place) -> f64 {
    let (latitude, other_latitude) = (one.1.to_radians(), other.1.to_radians());
    let half = |from: f64, to: f64| libm::sin((to - from) / 2.0).powi(2);
    let across = half(one.0.to_radians(), other.0.to_radians());
    let chord = half(latitude, other_latitude) + libm::cos(latitude) * libm::cos(other_latitude) * across;
    2.0 * RADIUS * libm::asin(chord.sqrt().min(1.0))
}

/// Metres from a place to the nearest of a side, in the plane that touches the earth at the place.
fn to_segment(from: Place, to: Place, place: Place) -> f64 {
    let narrowed = libm::cos(place.1.to_radians());
    let flat = |point: Place| ((point.0 - place.0) * narrowed, point.1 - place.1);
    let (from_flat, to_flat) = (flat(from), flat(to));
    let side = (to_flat.0 - from_flat.0, to_flat.1 - from_flat.1);
    let length = side.0 * side.0 + side.1 * side.1;
    let along = if length > 0.0 { -(from_flat.0 * side.0 + from_flat.1 * side.1) / length } else { 0.0 };
    let along = along.clamp(0.0, 1.0);
    great_circle((from.0 + (to.0 - from.0) * along, from.1 + (to.1 - from.1) * along), place)
}
