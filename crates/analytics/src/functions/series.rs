//! The `series_*` functions over dynamic arrays; what they compute is in [`crate::series`].

use gantry_kql::value::{Bag, Dynamic, Value};
use rustfft::FftPlanner;
use rustfft::num_complex::Complex;

use super::Implementation::Lax;
use super::{Call, Family, or_null};
use crate::column::Cell;
use crate::series::{self, Fences, Seasonality, Trend};

macro_rules! each {
    ($f:expr) => {
        Lax(|cells, _| each(cells[0], $f))
    };
}

macro_rules! pairs {
    ($f:expr) => {
        Lax(|cells, _| pairs(cells, |a, b| a.number().zip(b.number()).map(|(a, b)| Dynamic::Real($f(a, b)))))
    };
}

macro_rules! whole_pairs {
    ($whole:expr, $real:expr) => {
        Lax(|cells, _| {
            pairs(cells, |a, b| match (a, b) {
                (Cell::Long(a), Cell::Long(b)) => $whole(a, b).map(Dynamic::Long),
                _ => a.number().zip(b.number()).map(|(a, b)| Dynamic::Real($real(a, b))),
            })
        })
    };
}

macro_rules! compared {
    ($holds:expr) => {
        Lax(|cells, _| pairs(cells, |a, b| a.compare(b).map(|order: std::cmp::Ordering| Dynamic::Bool($holds(order)))))
    };
}

pub(super) const FUNCTIONS: Family = &[
    (
        "series_abs",
        Lax(|cells, _| {
            map(cells[0], |item| match item {
                Dynamic::Long(value) => Some(Dynamic::Long(value.wrapping_abs())),
                other => Cell::from(other).number().map(|x| Dynamic::Real(x.abs())),
            })
        }),
    ),
    (
        "series_sign",
        Lax(|cells, _| {
            map(cells[0], |item| {
                Cell::from(item).number().map(|x| Dynamic::Long(i64::from(x > 0.0) - i64::from(x < 0.0)))
            })
        }),
    ),
    ("series_exp", each!(f64::exp)),
    ("series_log", each!(f64::ln)),
    ("series_sin", each!(f64::sin)),
    ("series_cos", each!(f64::cos)),
    ("series_tan", each!(f64::tan)),
    ("series_asin", each!(f64::asin)),
    ("series_acos", each!(f64::acos)),
    ("series_atan", each!(f64::atan)),
    ("series_floor", each!(f64::floor)),
    ("series_ceiling", each!(f64::ceil)),
    ("series_add", whole_pairs!(|a: i64, b: i64| a.checked_add(b), |a: f64, b: f64| a + b)),
    ("series_subtract", whole_pairs!(|a: i64, b: i64| a.checked_sub(b), |a: f64, b: f64| a - b)),
    ("series_multiply", whole_pairs!(|a: i64, b: i64| a.checked_mul(b), |a: f64, b: f64| a * b)),
    ("series_divide", pairs!(|a: f64, b: f64| a / b)),
    ("series_pow", pairs!(f64::powf)),
    ("series_greater", compared!(std::cmp::Ordering::is_gt)),
    ("series_greater_equals", compared!(std::cmp::Ordering::is_ge)),
    ("series_less", compared!(std::cmp::Ordering::is_lt)),
    ("series_less_equals", compared!(std::cmp::Ordering::is_le)),
    ("series_equals", compared!(std::cmp::Ordering::is_eq)),
    ("series_not_equals", compared!(std::cmp::Ordering::is_ne)),
    ("series_sum", Lax(|cells, _| or_null(numbers(cells[0]), |y| Value::Real(y.iter().flatten().sum())))),
    ("series_product", Lax(|cells, _| or_null(numbers(cells[0]), |y| Value::Real(y.iter().flatten().product())))),
    ("series_magnitude", Lax(|cells, _| or_null(numbers(cells[0]), |y| Value::Real(series::magnitude(&y))))),
    ("series_dot_product", Lax(|cells, _| dot(cells))),
    ("series_cosine_similarity", Lax(|cells, _| two(cells, series::cosine_similarity))),
    ("series_pearson_correlation", Lax(|cells, _| two(cells, series::pearson))),
    ("series_fill_forward", Lax(|cells, _| fill(cells, series::fill_forward))),
    ("series_fill_backward", Lax(|cells, _| fill(cells, series::fill_backward))),
    ("series_fill_const", Lax(fill_const)),
    ("series_fill_linear", Lax(fill_linear)),
    ("series_fir", Lax(fir)),
    ("series_iir", Lax(iir)),
    ("series_fft", Lax(|cells, _| fft(cells, false))),
    ("series_ifft", Lax(|cells, _| fft(cells, true))),
    ("series_stats", Lax(|cells, _| stats(cells, false))),
    ("series_stats_dynamic", Lax(|cells, _| stats(cells, true))),
    ("series_fit_line", Lax(|cells, _| fit_line(cells, false))),
    ("series_fit_line_dynamic", Lax(|cells, _| fit_line(cells, true))),
    ("series_fit_2lines", Lax(|cells, _| fit_2lines(cells, false))),
    ("series_fit_2lines_dynamic", Lax(|cells, _| fit_2lines(cells, true))),
    ("series_fit_poly", Lax(fit_poly)),
    ("series_outliers", Lax(outliers)),
    ("series_periods_detect", Lax(periods_detect)),
    ("series_periods_validate", Lax(periods_validate)),
    ("series_seasonal", Lax(seasonal)),
    ("series_decompose", Lax(decompose)),
    ("series_decompose_anomalies", Lax(anomalies)),
    ("series_decompose_forecast", Lax(forecast)),
];

/// Numbers of an array; anything else in it is missing.
fn numbers(cell: Cell) -> Option<Vec<Option<f64>>> {
    let number = |item| Cell::from(item).number().filter(|value| !value.is_nan());
    cell.array().map(|items| items.iter().map(number).collect())
}

/// Numbers of an array without holes.
fn known(cell: Cell) -> Option<Vec<f64>> {
    numbers(cell)?.into_iter().collect()
}

fn array(values: impl IntoIterator<Item = Option<f64>>) -> Dynamic {
    Dynamic::Array(values.into_iter().map(|value| value.map_or(Dynamic::Null, Dynamic::Real)).collect())
}

fn reals(values: impl IntoIterator<Item = f64>) -> Dynamic {
    Dynamic::Array(values.into_iter().map(Dynamic::Real).collect())
}

/// Several results: an array, which the engine spreads over the columns.
fn tuple(values: Vec<Dynamic>) -> Value {
    Value::Dynamic(Dynamic::Array(values))
}

fn bag(entries: Vec<(&str, Dynamic)>) -> Value {
    let entries = entries.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Value::Dynamic(Dynamic::Bag(Bag::from_entries(entries)))
}

fn map(cell: Cell, f: impl Fn(&Dynamic) -> Option<Dynamic>) -> Value {
    or_null(cell.array(), |items| {
        Value::Dynamic(Dynamic::Array(items.iter().map(|item| f(item).unwrap_or(Dynamic::Null)).collect()))
    })
}

fn each(cell: Cell, f: fn(f64) -> f64) -> Value {
    map(cell, |item| Cell::from(item).number().map(|x| Dynamic::Real(f(x))))
}

/// Element by element; the shorter one is padded with null.
fn pairs(cells: &[Cell], f: impl Fn(Cell, Cell) -> Option<Dynamic>) -> Value {
    let (Some(a), Some(b)) = (cells[0].array(), cells[1].array()) else { return Value::Null };
    let items = (0..a.len().max(b.len())).map(|at| match (a.get(at), b.get(at)) {
        (Some(a), Some(b)) => f(Cell::from(a), Cell::from(b)).unwrap_or(Dynamic::Null),
        _ => Dynamic::Null,
    });
    Value::Dynamic(Dynamic::Array(items.collect()))
}

fn two(cells: &[Cell], f: fn(series::Series, series::Series) -> Option<f64>) -> Value {
    or_null(numbers(cells[0]).zip(numbers(cells[1])).and_then(|(a, b)| f(&a, &b)), Value::Real)
}

/// One side may be a number.
fn dot(cells: &[Cell]) -> Value {
    let side =
        |cell: Cell, other: Cell| numbers(cell).or_else(|| Some(vec![Some(cell.number()?); other.array()?.len()]));
    or_null(side(cells[0], cells[1]).zip(side(cells[1], cells[0])), |(a, b)| Value::Real(series::dot(&a, &b)))
}

/// The elements with those that are a placeholder taken for missing.
fn with_holes(items: &[Dynamic], placeholder: Option<Cell>) -> Vec<Option<f64>> {
    items
        .iter()
        .map(|item| {
            let cell = Cell::from(item);
            let is_hole = placeholder.is_some_and(|placeholder| cell.equals(placeholder) == Some(true));
            if is_hole { None } else { cell.number() }
        })
        .collect()
}

/// Filled numbers in the form of the array: whole numbers stay whole.
fn refilled(items: &[Dynamic], filled: Vec<Option<f64>>) -> Value {
    let whole = items.iter().all(|item| matches!(item, Dynamic::Long(_) | Dynamic::Null));
    let items = filled.into_iter().map(|value| match value {
        None => Dynamic::Null,
        Some(value) if whole => Dynamic::Long(value as i64),
        Some(value) => Dynamic::Real(value),
    });
    Value::Dynamic(Dynamic::Array(items.collect()))
}

fn fill(cells: &[Cell], f: fn(series::Series) -> Vec<Option<f64>>) -> Value {
    let placeholder = cells.get(1).copied();
    or_null(cells[0].array(), |items| refilled(items, f(&with_holes(items, placeholder))))
}

fn fill_const(cells: &[Cell], _: &Call) -> Value {
    let constant = cells.get(1).and_then(|cell| cell.number()).unwrap_or(0.0);
    let placeholder = cells.get(2).copied();
    or_null(cells[0].array(), |items| refilled(items, series::fill_const(&with_holes(items, placeholder), constant)))
}

/// `series_fill_linear(array [, placeholder [, fill_edges [, constant]]])`.
fn fill_linear(cells: &[Cell], _: &Call) -> Value {
    let placeholder = cells.get(1).copied();
    let edges = cells.get(2).and_then(|cell| cell.bool()).unwrap_or(true);
    let constant = cells.get(3).and_then(|cell| cell.number()).unwrap_or(0.0);
    or_null(cells[0].array(), |items| {
        refilled(items, series::fill_linear(&with_holes(items, placeholder), edges, constant))
    })
}

fn fir(cells: &[Cell], _: &Call) -> Value {
    let (Some(y), Some(filter)) = (numbers(cells[0]), known(cells[1])) else { return Value::Null };
    let normalize =
        cells.get(2).and_then(|cell| cell.bool()).unwrap_or_else(|| filter.iter().all(|factor| *factor >= 0.0));
    let center = cells.get(3).and_then(|cell| cell.bool()).unwrap_or(false);
    Value::Dynamic(array(series::fir(&y, &filter, normalize, center)))
}

fn iir(cells: &[Cell], _: &Call) -> Value {
    let (Some(y), Some(b), Some(a)) = (numbers(cells[0]), known(cells[1]), known(cells[2])) else {
        return Value::Null;
    };
    Value::Dynamic(array(series::iir(&y, &b, &a)))
}

/// Real and imaginary parts in, real and imaginary parts out.
fn fft(cells: &[Cell], inverse: bool) -> Value {
    let Some(real) = known(cells[0]) else { return Value::Null };
    let imaginary = cells.get(1).and_then(|cell| known(*cell)).unwrap_or_default();
    let mut points: Vec<Complex<f64>> = real
        .iter()
        .enumerate()
        .map(|(at, real)| Complex::new(*real, imaginary.get(at).copied().unwrap_or(0.0)))
        .collect();
    if points.is_empty() {
        return tuple(vec![Dynamic::Array(vec![]), Dynamic::Array(vec![])]);
    }
    let mut planner = FftPlanner::new();
    let plan = if inverse { planner.plan_fft_inverse(points.len()) } else { planner.plan_fft_forward(points.len()) };
    plan.process(&mut points);
    let scale = if inverse { 1.0 / points.len() as f64 } else { 1.0 };
    tuple(vec![reals(points.iter().map(|point| point.re * scale)), reals(points.iter().map(|point| point.im * scale))])
}

fn stats(cells: &[Cell], dynamic: bool) -> Value {
    let ignore = cells.get(1).and_then(|cell| cell.bool()).unwrap_or(false);
    let Some(y) = cells[0].array().map(|items| with_holes(items, None)) else { return Value::Null };
    let y: Vec<Option<f64>> = y.into_iter().filter(|value| !ignore || value.is_none_or(f64::is_finite)).collect();
    let Some(told) = series::stats(&y) else { return Value::Null };
    let at = |place: usize| Dynamic::Long(place as i64);
    let mut entries = vec![
        ("min", Dynamic::Real(told.min.0)),
        ("min_idx", at(told.min.1)),
        ("max", Dynamic::Real(told.max.0)),
        ("max_idx", at(told.max.1)),
        ("avg", Dynamic::Real(told.avg)),
        ("stdev", Dynamic::Real(told.stdev())),
        ("variance", Dynamic::Real(told.variance)),
    ];
    if dynamic {
        entries.extend([("sum", Dynamic::Real(told.sum)), ("len", at(told.len))]);
        return bag(entries);
    }
    tuple(entries.into_iter().map(|(_, value)| value).collect())
}

fn line_parts(line: &series::Line) -> Vec<(&'static str, Dynamic)> {
    vec![
        ("rsquare", Dynamic::Real(line.rsquare)),
        ("slope", Dynamic::Real(line.slope)),
        ("variance", Dynamic::Real(line.variance)),
        ("rvariance", Dynamic::Real(line.rvariance)),
        ("interception", Dynamic::Real(line.interception)),
        ("line_fit", reals(line.fit.iter().copied())),
    ]
}

fn told(parts: Vec<(&str, Dynamic)>, dynamic: bool) -> Value {
    if dynamic { bag(parts) } else { tuple(parts.into_iter().map(|(_, value)| value).collect()) }
}

fn fit_line(cells: &[Cell], dynamic: bool) -> Value {
    or_null(numbers(cells[0]).and_then(|y| series::fit_line(&y)), |line| told(line_parts(&line), dynamic))
}

fn fit_2lines(cells: &[Cell], dynamic: bool) -> Value {
    let side = |line: &series::Line| {
        line_parts(line).into_iter().filter(|(name, _)| *name != "line_fit").map(|(_, value)| value).collect::<Vec<_>>()
    };
    or_null(numbers(cells[0]).and_then(|y| series::fit_2lines(&y)), |both| {
        let mut parts = vec![
            ("rsquare", Dynamic::Real(both.rsquare)),
            ("split_idx", Dynamic::Long(both.split as i64)),
            ("variance", Dynamic::Real(both.variance)),
            ("rvariance", Dynamic::Real(both.rvariance)),
            ("line_fit", reals(both.fit.iter().copied())),
        ];
        const RIGHT: [&str; 5] =
            ["right_rsquare", "right_slope", "right_variance", "right_rvariance", "right_interception"];
        const LEFT: [&str; 5] = ["left_rsquare", "left_slope", "left_variance", "left_rvariance", "left_interception"];
        if dynamic {
            parts.push((
                "right",
                match bag(line_parts(&both.right)) {
                    Value::Dynamic(bag) => bag,
                    _ => Dynamic::Null,
                },
            ));
            parts.push((
                "left",
                match bag(line_parts(&both.left)) {
                    Value::Dynamic(bag) => bag,
                    _ => Dynamic::Null,
                },
            ));
            return bag(parts);
        }
        parts.extend(RIGHT.into_iter().zip(side(&both.right)));
        parts.extend(LEFT.into_iter().zip(side(&both.left)));
        told(parts, false)
    })
}

/// `series_fit_poly(y [, x, degree])`.
fn fit_poly(cells: &[Cell], _: &Call) -> Value {
    let Some(y) = known(cells[0]) else { return Value::Null };
    let x = cells.get(1).and_then(|cell| match cell.array() {
        Some(items) if items.iter().all(|item| matches!(item, Dynamic::DateTime(_) | Dynamic::TimeSpan(_))) => {
            items.iter().map(|item| Cell::from(item).long().map(|ticks| ticks as f64)).collect()
        }
        _ => known(*cell),
    });
    let degree = cells.get(2).and_then(|cell| cell.long()).unwrap_or(1).clamp(1, 7) as usize;
    or_null(series::fit_polynomial(&y, x.as_deref(), degree), |(rsquare, factors, variance, rvariance, fit)| {
        tuple(vec![
            Dynamic::Real(rsquare),
            reals(factors),
            Dynamic::Real(variance),
            Dynamic::Real(rvariance),
            reals(fit),
        ])
    })
}

/// `series_outliers(y [, kind [, ignore [, low, high]]])`.
fn outliers(cells: &[Cell], _: &Call) -> Value {
    let kind = cells.get(1).map(|cell| cell.text().into_owned()).unwrap_or_else(|| "ctukey".into());
    let percent = |at: usize, default: f64| cells.get(at).and_then(|cell| cell.number()).unwrap_or(default) / 100.0;
    let fences = if kind.eq_ignore_ascii_case("tukey") {
        Fences::TUKEY
    } else {
        Fences { low: percent(3, 10.0), high: percent(4, 90.0) }
    };
    let placeholder = cells.get(2).copied().filter(|cell| cell.number().is_some());
    or_null(cells[0].array(), |items| {
        Value::Dynamic(reals(series::outliers(&with_holes(items, placeholder), fences, 0)))
    })
}

fn periods_detect(cells: &[Cell], _: &Call) -> Value {
    let Some(y) = known(cells[0]) else { return Value::Null };
    let number = |at: usize, default: f64| cells.get(at).and_then(|cell| cell.number()).unwrap_or(default);
    let count = number(3, 1.0).clamp(0.0, 1_000.0) as usize;
    let found = series::periods_detect(&y, number(1, 4.0), number(2, y.len() as f64 / 2.0), count);
    tuple(vec![reals(found.iter().map(|one| one.0)), reals(found.iter().map(|one| one.1))])
}

fn periods_validate(cells: &[Cell], _: &Call) -> Value {
    let Some(y) = known(cells[0]) else { return Value::Null };
    let periods: Vec<f64> = cells[1..].iter().filter_map(|cell| cell.number()).collect();
    let scores = series::periods_validate(&y, &periods);
    tuple(vec![reals(periods), reals(scores)])
}

/// −1 (or nothing) looks for the season, 0 is none, anything else is the period.
fn seasonality(cell: Option<&Cell>, threshold: f64) -> Seasonality {
    match cell.and_then(|cell| cell.number()) {
        Some(period) if period > 0.0 => Seasonality::Period(period.round() as usize),
        Some(0.0) => Seasonality::None,
        _ => Seasonality::Detect { threshold },
    }
}

fn trend(cell: Option<&Cell>) -> Trend {
    match cell.map(|cell| cell.text().to_ascii_lowercase()).as_deref() {
        Some("linefit") => Trend::Line,
        Some("none") => Trend::None,
        _ => Trend::Average,
    }
}

fn count(cell: Option<&Cell>) -> usize {
    cell.and_then(|cell| cell.long()).unwrap_or(0).max(0) as usize
}

fn seasonal(cells: &[Cell], _: &Call) -> Value {
    or_null(numbers(cells[0]), |y| Value::Dynamic(reals(series::seasonal(&y, seasonality(cells.get(1), 0.7)))))
}

/// `series_decompose(y [, seasonality [, trend [, test_points [, threshold]]]])`.
fn decompose(cells: &[Cell], _: &Call) -> Value {
    let threshold = cells.get(4).and_then(|cell| cell.number()).unwrap_or(0.6);
    or_null(numbers(cells[0]), |y| {
        let parts =
            series::decompose(&y, seasonality(cells.get(1), threshold), trend(cells.get(2)), count(cells.get(3)));
        tuple([parts.baseline, parts.seasonal, parts.trend, parts.residual].into_iter().map(reals).collect())
    })
}

/// `series_decompose_anomalies(y [, threshold [, seasonality [, trend [, test_points [, method [, threshold]]]]]])`.
fn anomalies(cells: &[Cell], _: &Call) -> Value {
    let threshold = cells.get(1).and_then(|cell| cell.number()).unwrap_or(1.5);
    let seasonal = cells.get(6).and_then(|cell| cell.number()).unwrap_or(0.6);
    let method = cells.get(5).map(|cell| cell.text().to_ascii_lowercase());
    let fences = if method.as_deref() == Some("tukey") { Fences::TUKEY } else { Fences::CUSTOM };
    or_null(numbers(cells[0]), |y| {
        let season = seasonality(cells.get(2), seasonal);
        let told = series::anomalies(&y, threshold, season, trend(cells.get(3)), count(cells.get(4)), fences);
        tuple(vec![
            Dynamic::Array(told.flag.iter().map(|flag| Dynamic::Long(i64::from(*flag))).collect()),
            reals(told.score),
            reals(told.baseline),
        ])
    })
}

/// `series_decompose_forecast(y, points [, seasonality [, trend [, threshold]]])`: one array.
fn forecast(cells: &[Cell], _: &Call) -> Value {
    let threshold = cells.get(4).and_then(|cell| cell.number()).unwrap_or(0.6);
    or_null(numbers(cells[0]), |y| {
        let season = seasonality(cells.get(2), threshold);
        Value::Dynamic(reals(series::forecast(&y, count(cells.get(1)), season, trend(cells.get(3)))))
    })
}
