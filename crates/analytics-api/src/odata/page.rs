//! Rows of a set, a page at a time.
//!
//! Rows are ordered by `$orderby` and then by their key, so that an order is always whole; a page begins behind the row
//! at which the one before ended, whatever was written meanwhile.

use gantry_analytics::column::Cell;
use gantry_analytics::{Chunk, Flow};
use gantry_kql::ast::{Binary, Expr, Named, Operator};
use gantry_kql::value::{DateTime, TimeSpan, Type, Value};

use super::ask::Asker;
use super::expr::{Scope, Ty, Typed, column, condition, order};
use super::failure::Failure;
use super::model::{Property, Set};
use super::options::Options;
use super::token::{Token, fingerprint};
use super::tree;
use super::write::members;

/// Rows of a page when nobody says.
const ROWS_DEFAULT: u64 = 10_000;
/// Rows of a page at most.
const ROWS_MAX: u64 = 50_000;
/// Rows of a page with others expanded.
const ROWS_EXPANDED_MAX: u64 = 100;
/// Bytes after which a page ends.
const BYTES_MAX: usize = 8 << 20;
/// Parts of a table whose ends a token holds.
const PARTS_MAX: usize = 200;

/// Rows somebody asks for: a table and what is done to it.
pub struct Rows<'m> {
    /// The set.
    pub set: &'m Set,
    /// What the path says of them.
    pub only: Vec<Expr>,
    /// Where they are, for the token.
    pub path: &'m str,
}

/// A row, written.
pub struct Row {
    /// The members of its object.
    pub members: String,
    /// The columns that were asked for beside.
    pub beside: Vec<Value>,
}

/// A page.
pub struct Page {
    /// Its rows.
    pub rows: Vec<Row>,
    /// All there are, when asked for.
    pub count: Option<u64>,
    /// Where the next one begins, if there is one.
    pub next: Option<Token>,
    /// The properties the rows have, in order.
    pub shown: Vec<Property>,
    /// `$apply` made the rows: they are no entities.
    pub made: bool,
}

/// A key of the order.
struct Key {
    expr: Expr,
    ty: Ty,
    descending: bool,
}

impl Key {
    /// What is sorted by a value: something of which there is an order, and null where that is all there is.
    fn new(value: Typed, descending: bool, ty: Option<Type>) -> Key {
        let expr = value.expr;
        let (expr, ty) = match (value.ty, ty) {
            (Ty::Bool | Ty::Truth | Ty::Null, _) => (tree::call("tolong", [expr]), Ty::Whole),
            (Ty::Guid, _) => (tree::call("tostring", [expr]), Ty::Text),
            (Ty::Number, _) => {
                let real = tree::call("toreal", [expr]);
                let none = tree::literal(Value::Null, Type::Real);
                (tree::call("iff", [tree::call("isnan", [real.clone()]), none, real]), Ty::Number)
            }
            (Ty::Whole, Some(Type::Int)) => (tree::call("tolong", [expr]), Ty::Whole),
            (ty, _) => (expr, ty),
        };
        Key { expr, ty, descending }
    }
}

/// The value of a key as a token has it.
fn print_key(ty: Ty, cell: Cell) -> Option<String> {
    match (ty, cell) {
        (_, Cell::Null) => None,
        (Ty::Number, Cell::Real(value)) => Some(format!("{:x}", value.to_bits())),
        (_, Cell::DateTime(ticks) | Cell::TimeSpan(ticks)) => Some(ticks.to_string()),
        (_, cell) => Some(cell.text().into_owned()),
    }
}

/// And back.
fn read_key(ty: Ty, text: &str) -> Option<Expr> {
    Some(match ty {
        Ty::Number => tree::literal(Value::Real(f64::from_bits(u64::from_str_radix(text, 16).ok()?)), Type::Real),
        Ty::Instant => tree::literal(Value::DateTime(DateTime::from_ticks(text.parse().ok()?)?), Type::DateTime),
        Ty::Span => tree::literal(Value::TimeSpan(TimeSpan(text.parse().ok()?)), Type::TimeSpan),
        Ty::Whole => tree::long(text.parse().ok()?),
        _ => tree::text(text),
    })
}

/// The rows that come at or behind a place in the order.
fn from_place(keys: &[Key], names: &[(String, bool)], last: &[Option<String>]) -> Result<Expr, Failure> {
    let wrong = || Failure::bad_request("the $skiptoken is none that this service gave for this query");
    if keys.len() != last.len() {
        return Err(wrong());
    }
    let (mut any, mut same) = (Vec::new(), Vec::new());
    for ((key, (column, _)), last) in keys.iter().zip(names).zip(last) {
        let is_null = || tree::call("isnull", [tree::name(column)]);
        let value = last.as_ref().map(|text| read_key(key.ty, text).ok_or_else(wrong)).transpose()?;
        let side = |op: Binary, value: Expr| match key.ty {
            Ty::Text => tree::binary(op, tree::call("strcmp", [tree::name(column), value]), tree::long(0)),
            _ => tree::binary(op, tree::name(column), value),
        };
        // Null is less than all values.
        let (equal, behind) = match value {
            None if key.descending => (is_null(), None),
            None => (is_null(), Some(tree::call("isnotnull", [tree::name(column)]))),
            Some(value) if key.descending => {
                let less = side(Binary::Less, value.clone());
                let behind = if key.ty == Ty::Text { less } else { tree::or(vec![less, is_null()]) };
                (side(Binary::Equal, value), Some(behind))
            }
            Some(value) => (side(Binary::Equal, value.clone()), Some(side(Binary::Greater, value))),
        };
        if let Some(behind) = behind {
            let mut all: Vec<Expr> = same.clone();
            all.push(behind);
            any.push(tree::and(all));
        }
        same.push(equal);
    }
    any.push(tree::and(same));
    Ok(tree::or(any))
}

impl Asker<'_> {
    /// A page of rows. `beside` are columns whose values are given with each row.
    ///
    /// # Errors
    /// When the options mean nothing here, or the rows cannot be read.
    pub fn page(&self, rows: &Rows, options: &Options, beside: &[&str]) -> Result<Page, Failure> {
        let query = fingerprint(&format!("{} {}", rows.path, options.essence()));
        let token = options.skiptoken.as_ref().map(|text| Token::read(text, query)).transpose()?;
        let asker = &Asker { now: token.as_ref().map_or(self.now, |token| token.now), ..*self };
        let limit = asker.page_rows(options);
        let left = match &token {
            Some(token) => token.left,
            None => options.top,
        };
        let several = left.is_none_or(|left| left > limit);
        let ends = match &token {
            Some(token) => token.ends.clone(),
            None if several || options.count => asker.ends(rows.set)?,
            None => None,
        };
        let mut operators = base(rows, ends.as_deref())?;
        let scope = Scope { properties: &rows.set.properties, aliases: &options.aliases };
        if let Some(text) = &options.filter
            && options.apply.is_none()
        {
            operators.push(tree::filter(condition(text, scope)?));
        }
        let (mut properties, mut tie) = (rows.set.properties.clone(), rows.set.key.clone());
        if let Some(apply) = &options.apply {
            let applied = asker.apply(rows.set, operators, apply, &options.aliases)?;
            (operators, properties) = (applied.operators, applied.properties);
            if let Some(groups) = applied.groups {
                tie = groups;
            }
            if let Some(text) = &options.filter {
                let scope = Scope { properties: &properties, ..scope };
                operators.push(tree::filter(condition(text, scope)?));
            }
        }
        let scope = Scope { properties: &properties, ..scope };
        let count = match &token {
            _ if !options.count => None,
            Some(Token { count: Some(count), .. }) => Some(*count),
            _ => Some(asker.count(&rows.set.name, operators.clone())?),
        };

        let mut keys = Vec::new();
        if let Some(text) = &options.orderby {
            keys.extend(order(text, scope)?.into_iter().map(|(value, descending)| Key::new(value, descending, None)));
        }
        let tie = tie.iter().filter_map(|key| properties.iter().find(|property| property.column == *key));
        keys.extend(tie.map(|property| Key::new(column(property), false, Some(property.ty))));

        let shown = shown(&properties, options, rows.set)?;
        // A name that no column has.
        let mut prefix = "__k".to_owned();
        while properties.iter().any(|property| property.column.starts_with(&prefix)) {
            prefix.push('_');
        }
        let names: Vec<(String, bool)> =
            keys.iter().enumerate().map(|(at, key)| (format!("{prefix}{at}"), key.descending)).collect();
        let sorted_by = names.iter().zip(&keys).map(|((name, _), key)| tree::named(name, key.expr.clone())).collect();
        operators.push(tree::extend(sorted_by));
        if let Some(token) = &token {
            operators.push(tree::filter(from_place(&keys, &names, &token.last)?));
        }
        let passed = token.as_ref().map_or(options.skip, |token| token.given);
        let wanted = left.unwrap_or(limit).min(limit);
        let fetched = i64::try_from(passed.saturating_add(wanted).saturating_add(1)).unwrap_or(i64::MAX);
        if wanted == 0 {
            return Ok(Page { rows: vec![], count, next: None, shown, made: options.apply.is_some() });
        }
        operators.push(if names.is_empty() { tree::take(fetched) } else { tree::top(fetched, &names) });
        let column = |column: &str| tree::named(column, tree::name(column));
        let mut values: Vec<Named> = shown.iter().map(|property| column(&property.column)).collect();
        values.extend(names.iter().map(|(name, _)| column(name)));
        // A column that is shown and is asked for beside is there once.
        let places: Vec<usize> = beside
            .iter()
            .map(|wanted| {
                shown.iter().position(|property| property.column == *wanted).unwrap_or_else(|| {
                    values.push(column(wanted));
                    values.len() - 1
                })
            })
            .collect();
        operators.push(tree::project(values));

        let mut taken = Taken { passed, wanted, ..Taken::default() };
        let all: Vec<&Property> = shown.iter().collect();
        asker.run(&rows.set.name, operators, &mut |chunk: Chunk| {
            for row in 0..chunk.rows {
                let last: Vec<_> = keys
                    .iter()
                    .enumerate()
                    .map(|(at, key)| print_key(key.ty, chunk.columns[shown.len() + at].cell(row)))
                    .collect();
                if taken.passed > 0 {
                    taken.passed -= 1;
                    taken.note(last);
                    continue;
                }
                if taken.rows.len() as u64 == taken.wanted || taken.bytes > BYTES_MAX {
                    taken.more = true;
                    return Ok(Flow::Enough);
                }
                let mut text = String::new();
                members(&mut text, &all, &chunk, row, asker.form);
                taken.bytes += text.len();
                let beside = places.iter().map(|place| chunk.columns[*place].value(row)).collect();
                taken.note(last);
                taken.rows.push(Row { members: text, beside });
            }
            Ok(Flow::More)
        })?;

        let Taken { rows: written, last, given, more, .. } = taken;
        let left = left.map(|left| left.saturating_sub(written.len() as u64));
        let next = (more && left != Some(0)).then_some(Token { query, now: asker.now, last, given, left, count, ends });
        Ok(Page { rows: written, count, next, shown, made: options.apply.is_some() })
    }

    /// How many rows there are.
    ///
    /// # Errors
    /// As of [`page`](Self::page).
    pub fn count_of(&self, rows: &Rows, options: &Options) -> Result<u64, Failure> {
        let mut operators = base(rows, None)?;
        if let Some(apply) = &options.apply {
            operators = self.apply(rows.set, operators, apply, &options.aliases)?.operators;
        } else if let Some(text) = &options.filter {
            let scope = Scope { properties: &rows.set.properties, aliases: &options.aliases };
            operators.push(tree::filter(condition(text, scope)?));
        }
        self.count(&rows.set.name, operators)
    }

    fn count(&self, table: &str, mut operators: Vec<Operator>) -> Result<u64, Failure> {
        operators.push(tree::summarize(vec![tree::named("n", tree::call("count", []))], vec![]));
        let rows = self.values(table, operators)?;
        let count = rows.first().and_then(|row| row.first());
        Ok(if let Some(Value::Long(count)) = count { count.unsigned_abs() } else { 0 })
    }

    /// The last rows of a table to which rows are only added, part by part.
    fn ends(&self, set: &Set) -> Result<Option<Vec<Vec<String>>>, Failure> {
        let Some(rises) = &set.rises_by else { return Ok(None) };
        let parts: Vec<&String> = set.key.iter().filter(|column| *column != rises).collect();
        let is_whole =
            |column: &&String| set.column(column).is_some_and(|part| matches!(part.ty, Type::Int | Type::Long));
        if !parts.iter().all(is_whole) {
            return Ok(None);
        }
        let by = parts.into_iter().map(|column| tree::named(column, tree::name(column))).collect();
        let last = tree::named("n", tree::call("max", [tree::name(rises)]));
        let rows = self.values(&set.name, vec![tree::summarize(vec![last], by)])?;
        let rows: Vec<Vec<String>> =
            rows.into_iter().map(|row| row.iter().map(ToString::to_string).collect()).collect();
        Ok((rows.len() <= PARTS_MAX).then_some(rows))
    }

    fn page_rows(&self, options: &Options) -> u64 {
        let most = if options.expand.is_empty() { ROWS_MAX } else { ROWS_EXPANDED_MAX };
        self.page_size.unwrap_or(ROWS_DEFAULT).clamp(1, most)
    }
}

/// What has been taken of a result.
#[derive(Default)]
struct Taken {
    passed: u64,
    wanted: u64,
    rows: Vec<Row>,
    bytes: usize,
    last: Vec<Option<String>>,
    given: u64,
    more: bool,
}

impl Taken {
    /// Notes the place of a row that was given, now or on a page before.
    fn note(&mut self, last: Vec<Option<String>>) {
        self.given = if self.last == last { self.given + 1 } else { 1 };
        self.last = last;
    }
}

/// What the path and the first page say of the rows.
fn base(rows: &Rows, ends: Option<&[Vec<String>]>) -> Result<Vec<Operator>, Failure> {
    let mut operators = Vec::new();
    if !rows.only.is_empty() {
        operators.push(tree::filter(tree::and(rows.only.clone())));
    }
    if let (Some(ends), Some(rises)) = (ends, &rows.set.rises_by) {
        let parts: Vec<&String> = rows.set.key.iter().filter(|column| *column != rises).collect();
        let wrong = || Failure::bad_request("the $skiptoken is none that this service gave for this query");
        let mut any = Vec::new();
        for end in ends {
            if end.len() != parts.len() + 1 {
                return Err(wrong());
            }
            let whole = |text: &String| text.parse::<i64>().map(tree::long).map_err(|_| wrong());
            let mut all = Vec::new();
            for (part, value) in parts.iter().zip(end) {
                all.push(tree::binary(Binary::Equal, tree::name(part), whole(value)?));
            }
            let last = end.last().ok_or_else(wrong)?;
            all.push(tree::binary(Binary::LessOrEqual, tree::name(rises), whole(last)?));
            any.push(tree::and(all));
        }
        operators.push(tree::filter(tree::or(any)));
    }
    Ok(operators)
}

/// What is sorted by a value.
pub fn key_of_order(value: Typed) -> Expr {
    Key::new(value, false, None).expr
}

/// The properties that are shown.
///
/// # Errors
/// When one is not there.
pub fn shown(properties: &[Property], options: &Options, set: &Set) -> Result<Vec<Property>, Failure> {
    let Some(names) = &options.select else { return Ok(properties.to_vec()) };
    let mut shown: Vec<Property> = Vec::new();
    for name in names {
        match properties.iter().find(|property| property.name == *name) {
            Some(property) if shown.contains(property) => {}
            Some(property) => shown.push(property.clone()),
            // A navigation may be selected: what is shown of it is up to $expand.
            None if set.navigation(name).is_some() && options.apply.is_none() => {}
            None => return Err(Failure::bad_request(format!("there is no property `{name}`"))),
        }
    }
    Ok(shown)
}
