//! Expressions of the tree as checked ones: names become slots and columns, calls become what they call.

use std::sync::Arc;

use super::window::{duration, is_timestamp};
use super::{Aggregate, AggregateKind, Analytic, AnalyticKind, Spikes};
use crate::ast::{self, Binary, Call, Kind, Name, Over};
use crate::error::Error;
use crate::expr::{DatePart, Env, Expr, Pattern, WindowPart};
use crate::functions::{self, text::like};
use crate::lex::{self, At};
use crate::time::{DAY, Unit};
use crate::value::Value;

/// Longest text of a pattern, and largest program that one becomes.
const PATTERN_BYTES_MAX: usize = 4096;
const PATTERN_SIZE_MAX: usize = 1 << 20;
/// Most rows that LAG looks back, that CollectTop gives, and that an anomaly function learns from.
const BACK_MAX: i64 = 10_000;

/// Rows a query reads, by the name they have in it.
#[derive(Debug)]
pub(super) struct Slot {
    pub name: String,
    /// Their columns, when known.
    pub columns: Option<Vec<Arc<str>>>,
    /// Whether they come from an input, with what the sender attached.
    pub metadata: bool,
}

/// What names stand for in one expression.
pub(super) struct Scope<'a> {
    text: &'a str,
    slots: &'a [Slot],
    analytics: Option<&'a mut Vec<Analytic>>,
    aggregates: Option<&'a mut Vec<Aggregate>>,
}

impl<'a> Scope<'a> {
    /// Rows alone: no aggregates, no functions that look back.
    pub(super) fn rows(text: &'a str, slots: &'a [Slot]) -> Scope<'a> {
        Scope { text, slots, analytics: None, aggregates: None }
    }

    pub(super) fn with_analytics(mut self, analytics: &'a mut Vec<Analytic>) -> Scope<'a> {
        self.analytics = Some(analytics);
        self
    }

    pub(super) fn with_aggregates(mut self, aggregates: &'a mut Vec<Aggregate>) -> Scope<'a> {
        self.aggregates = Some(aggregates);
        self
    }

    pub(super) fn compile(&mut self, expr: &ast::Expr) -> Result<Expr, Error> {
        let at = expr.at;
        Ok(match &expr.kind {
            Kind::Null => Expr::Literal(Value::Null),
            Kind::Whole(number) => Expr::Literal(Value::Bigint(*number)),
            Kind::Number(number) => Expr::Literal(Value::Float(*number)),
            Kind::Text(text) => Expr::Literal(text.as_str().into()),
            Kind::Path(path) => self.path(path)?,
            Kind::Member(inner, name) => self.member(inner, name)?,
            Kind::Call(call) => self.call(call, at)?,
            Kind::Negate(inner) => Expr::Negate(self.boxed(inner)?),
            Kind::Not(inner) => Expr::Not(self.boxed(inner)?),
            Kind::And(terms) => Expr::And(self.all(terms)?),
            Kind::Or(terms) => Expr::Or(self.all(terms)?),
            Kind::Binary(operator, left, right) => Expr::Binary(*operator, self.boxed(left)?, self.boxed(right)?),
            Kind::IsNull(inner, negated) => Expr::IsNull(self.boxed(inner)?, *negated),
            Kind::Between(three, negated) => {
                let [value, low, high] = &**three;
                let three = [self.compile(value)?, self.compile(low)?, self.compile(high)?];
                Expr::Between(Box::new(three), *negated)
            }
            Kind::In(value, items, negated) => Expr::In(self.boxed(value)?, self.all(items)?, *negated),
            Kind::Like(value, pattern, escape, negated) => {
                let written = self.literal_text(pattern, "the pattern of LIKE")?;
                let expression = format!("(?s)^(?:{})$", like(&written, *escape));
                let pattern = self.pattern(&expression, pattern.at)?;
                Expr::Like(self.boxed(value)?, pattern, *negated)
            }
            Kind::Case { operand, whens, otherwise } => {
                let operand = match operand {
                    Some(operand) => Some(self.boxed(operand)?),
                    None => None,
                };
                let mut compiled = Vec::new();
                for (when, then) in whens {
                    let mut when = self.compile(when)?;
                    if let Some(operand) = &operand {
                        when = Expr::Binary(Binary::Equal, operand.clone(), Box::new(when));
                    }
                    compiled.push((when, self.compile(then)?));
                }
                let otherwise = match otherwise {
                    Some(otherwise) => self.compile(otherwise)?,
                    None => Expr::Literal(Value::Null),
                };
                Expr::Case(compiled, Box::new(otherwise))
            }
            Kind::Cast(inner, kind, attempt) => Expr::Cast(self.boxed(inner)?, *kind, *attempt),
        })
    }

    fn boxed(&mut self, expr: &ast::Expr) -> Result<Box<Expr>, Error> {
        self.compile(expr).map(Box::new)
    }

    fn all(&mut self, exprs: &[ast::Expr]) -> Result<Vec<Expr>, Error> {
        exprs.iter().map(|expr| self.compile(expr)).collect()
    }

    fn slot(&self, name: &str) -> Option<usize> {
        self.slots.iter().position(|slot| slot.name.eq_ignore_ascii_case(name))
    }

    fn path(&self, path: &[Name]) -> Result<Expr, Error> {
        let [first, rest @ ..] = path else {
            return Ok(Expr::Literal(Value::Null));
        };
        if is_timestamp(path.iter().map(|name| name.text.as_str())) && self.slot("system").is_none() {
            return Ok(Expr::Timestamp);
        }
        let (mut value, members) = match (self.slot(&first.text), rest) {
            (Some(slot), []) => (Expr::Slot(slot), rest),
            (Some(slot), [column, members @ ..]) => (self.column(slot, column)?, members),
            (None, _) => (self.column(self.owner(first)?, first)?, rest),
        };
        for member in members {
            value = Expr::Member(Box::new(value), member.text.as_str().into());
        }
        Ok(value)
    }

    /// A column of a slot, which must be one of its columns if these are known.
    fn column(&self, slot: usize, name: &Name) -> Result<Expr, Error> {
        let wanted = name.text.as_str();
        let column: Arc<str> = match &self.slots[slot].columns {
            None => wanted.into(),
            Some(columns) => match find(columns, wanted) {
                Some(column) => column.clone(),
                None => {
                    let message = format!("`{}` has no column `{wanted}`", self.slots[slot].name);
                    return Err(self.error(name.at, message));
                }
            },
        };
        Ok(Expr::Field(slot, column))
    }

    /// Which slot a column belongs to that is written without one.
    fn owner(&self, name: &Name) -> Result<usize, Error> {
        if self.slots.len() == 1 {
            return Ok(0);
        }
        let owners = |wanted: fn(&Slot, &str) -> bool| {
            let mut found = (0..self.slots.len()).filter(|slot| wanted(&self.slots[*slot], &name.text));
            (found.next(), found.next())
        };
        let known = owners(|slot, name| matches!(&slot.columns, Some(columns) if find(columns, name).is_some()));
        let open = owners(|slot, _| slot.columns.is_none());
        match (known, open) {
            ((Some(slot), None), (None, _)) | ((None, _), (Some(slot), None)) => Ok(slot),
            ((None, _), (None, _)) => {
                let message = format!("there is no column `{}`", name.text);
                Err(self.error(name.at, message))
            }
            _ => {
                let message = format!("whose column is `{0}`? write a name before it, as in x.{0}", name.text);
                Err(self.error(name.at, message))
            }
        }
    }

    fn member(&mut self, inner: &ast::Expr, name: &Name) -> Result<Expr, Error> {
        if let Kind::Call(call) = &inner.kind
            && call.name.eq_ignore_ascii_case("system.window")
        {
            self.count(call, inner.at, 0, 0)?;
            let part = match name.text.to_ascii_lowercase().as_str() {
                "id" => WindowPart::Id,
                "start" | "starttime" => WindowPart::Start,
                "end" | "endtime" => WindowPart::End,
                _ => {
                    let message = format!("System.Window() has no `{}`; it has Id, Start and End", name.text);
                    return Err(self.error(name.at, message));
                }
            };
            if self.aggregates.is_none() {
                let message = "System.Window() belongs into the SELECT or HAVING of a query with a window";
                return Err(self.error(inner.at, message));
            }
            return Ok(Expr::Window(part));
        }
        Ok(Expr::Member(self.boxed(inner)?, name.text.as_str().into()))
    }

    fn call(&mut self, call: &Call, at: At) -> Result<Expr, Error> {
        let name = call.name.to_ascii_lowercase();
        if let Some(kind) = self.aggregate_kind(&name, call, at)? {
            return self.aggregate(kind, call, at);
        }
        if call.star || call.distinct || call.filter.is_some() {
            let message = format!("`{}` is no aggregate", call.name);
            return Err(self.error(at, message));
        }
        if matches!(
            name.as_str(),
            "lag" | "last" | "isfirst" | "anomalydetection_spikeanddip" | "anomalydetection_changepoint"
        ) {
            return self.analytic(&name, call, at);
        }
        if call.over.is_some() {
            return Err(self.error(at, format!("`{}` has no OVER", call.name)));
        }
        Ok(match name.as_str() {
            "system.timestamp" => {
                self.count(call, at, 0, 0)?;
                Expr::Timestamp
            }
            "coalesce" => {
                self.count(call, at, 1, usize::MAX)?;
                Expr::Coalesce(self.all(&call.args)?)
            }
            "nullif" => {
                self.count(call, at, 2, 2)?;
                let (one, other) = (self.compile(&call.args[0])?, self.compile(&call.args[1])?);
                let same = Expr::Binary(Binary::Equal, Box::new(one.clone()), Box::new(other));
                Expr::Case(vec![(same, Expr::Literal(Value::Null))], Box::new(one))
            }
            "regexmatch" => {
                self.count(call, at, 2, 2)?;
                let written = self.literal_text(&call.args[1], "the pattern of REGEXMATCH")?;
                let pattern = self.pattern(&written, call.args[1].at)?;
                Expr::Matches(self.boxed(&call.args[0])?, pattern)
            }
            "patindex" => {
                self.count(call, at, 2, 2)?;
                let written = self.literal_text(&call.args[0], "the pattern of PATINDEX")?;
                let core = written.strip_prefix('%').unwrap_or(&written);
                let begin = if core.len() == written.len() { "^" } else { "" };
                let (core, end) = match core.strip_suffix('%') {
                    Some(core) => (core, ""),
                    None => (core, "$"),
                };
                let expression = format!("(?s){begin}({}){end}", like(core, None));
                let pattern = self.pattern(&expression, call.args[0].at)?;
                Expr::PatternIndex(self.boxed(&call.args[1])?, pattern)
            }
            "getmetadatapropertyvalue" => self.metadata(call, at)?,
            "dateadd" => self.date(DatePart::Add, call, at, 3)?,
            "datediff" => self.date(DatePart::Difference, call, at, 3)?,
            "datepart" => self.date(DatePart::Number, call, at, 2)?,
            "datename" => self.date(DatePart::Name, call, at, 2)?,
            "day" | "month" | "year" => {
                self.count(call, at, 1, 1)?;
                let unit = Unit::parse(&name).expect("a unit");
                Expr::Date(DatePart::Number, unit, self.all(&call.args)?)
            }
            _ => match functions::find(&name) {
                Some(function) => {
                    self.count(call, at, function.least, function.most)?;
                    Expr::Call(function, self.all(&call.args)?)
                }
                None => {
                    let message = format!("not implemented: function `{}`", call.name);
                    return Err(self.error(at, message));
                }
            },
        })
    }

    fn count(&self, call: &Call, at: At, least: usize, most: usize) -> Result<(), Error> {
        if (least..=most).contains(&call.args.len()) {
            return Ok(());
        }
        let wanted = match (least, most) {
            (least, usize::MAX) => format!("at least {least}"),
            (least, most) if least == most => least.to_string(),
            _ => format!("{least} to {most}"),
        };
        let message = format!("`{}` takes {wanted} arguments, not {}", call.name, call.args.len());
        Err(self.error(at, message))
    }

    fn literal_text(&self, expr: &ast::Expr, what: &str) -> Result<String, Error> {
        match &expr.kind {
            Kind::Text(text) => Ok(text.clone()),
            _ => {
                let message = format!("not implemented: {what} that is not written as a text");
                Err(self.error(expr.at, message))
            }
        }
    }

    fn pattern(&self, expression: &str, at: At) -> Result<Pattern, Error> {
        if expression.len() > PATTERN_BYTES_MAX {
            let message = format!("a pattern of more than {PATTERN_BYTES_MAX} bytes");
            return Err(self.error(at, message));
        }
        regex::RegexBuilder::new(expression)
            .size_limit(PATTERN_SIZE_MAX)
            .nest_limit(64)
            .build()
            .map(Pattern)
            .map_err(|_| self.error(at, "this is no pattern, or one that is too large"))
    }

    /// A whole number that is written or follows from what is written.
    fn constant(&mut self, expr: &ast::Expr, what: &str) -> Result<i64, Error> {
        let compiled = Scope::rows(self.text, &[]).compile(expr).ok();
        match compiled.and_then(|compiled| compiled.evaluate(&Env::default()).ok()) {
            Some(Value::Bigint(number)) => Ok(number),
            _ => Err(self.error(expr.at, format!("{what} is a whole number"))),
        }
    }

    fn date(&mut self, part: DatePart, call: &Call, at: At, count: usize) -> Result<Expr, Error> {
        self.count(call, at, count, count)?;
        let unit = match &call.args[0].kind {
            Kind::Path(path) if path.len() == 1 => Unit::parse(&path[0].text),
            _ => None,
        };
        let Some(unit) = unit else {
            return Err(self.error(call.args[0].at, "expected a unit of time, as `minute`"));
        };
        if unit == Unit::Offset && matches!(part, DatePart::Add | DatePart::Difference) {
            return Err(self.error(call.args[0].at, "nothing is counted in `tzoffset`"));
        }
        let mut args = self.all(&call.args[1..])?;
        if part == DatePart::Difference {
            // The name of rows stands for their time.
            for arg in &mut args {
                if let Expr::Slot(slot) = arg {
                    *arg = Expr::SlotTime(*slot);
                }
            }
        }
        Ok(Expr::Date(part, unit, args))
    }

    /// `GetMetadataPropertyValue(input, '[User].[name]')`.
    fn metadata(&mut self, call: &Call, at: At) -> Result<Expr, Error> {
        self.count(call, at, 2, 2)?;
        let slot = match &call.args[0].kind {
            Kind::Path(path) if path.len() == 1 => self.slot(&path[0].text),
            _ => None,
        };
        let Some(slot) = slot else {
            let message = "the first argument of GetMetadataPropertyValue is the name of an input";
            return Err(self.error(call.args[0].at, message));
        };
        if !self.slots[slot].metadata {
            let message = "only the rows of an input have metadata, not those of a step";
            return Err(self.error(call.args[0].at, message));
        }
        let written = self.literal_text(&call.args[1], "a name of metadata")?;
        let mut path = Vec::new();
        let mut rest = written.as_str();
        while !rest.is_empty() {
            let (part, after) = match rest.strip_prefix('[') {
                Some(bracketed) => bracketed.split_once(']').unwrap_or((bracketed, "")),
                None => match rest.find('.') {
                    Some(dot) => rest.split_at(dot),
                    None => (rest, ""),
                },
            };
            path.push(Arc::<str>::from(part));
            rest = after.strip_prefix('.').unwrap_or(after);
        }
        match path.as_slice() {
            [] => Err(self.error(call.args[1].at, "expected the name of metadata")),
            [user, name] if user.eq_ignore_ascii_case("user") => Ok(Expr::UserProperty(slot, name.clone())),
            [first, members @ ..] => {
                let mut value = Expr::Field(slot, first.clone());
                for member in members {
                    value = Expr::Member(Box::new(value), member.clone());
                }
                Ok(value)
            }
        }
    }

    fn aggregate_kind(&mut self, name: &str, call: &Call, at: At) -> Result<Option<AggregateKind>, Error> {
        Ok(Some(match name {
            "count" if call.distinct => AggregateKind::CountDistinct,
            "count" => AggregateKind::Count,
            "sum" => AggregateKind::Sum,
            "avg" => AggregateKind::Average,
            "min" => AggregateKind::Min,
            "max" => AggregateKind::Max,
            "stdev" => AggregateKind::Deviation { population: false },
            "stdevp" => AggregateKind::Deviation { population: true },
            "var" => AggregateKind::Variance { population: false },
            "varp" => AggregateKind::Variance { population: true },
            "topone" => AggregateKind::TopOne,
            "collect" => AggregateKind::Collect,
            "collecttop" => {
                self.count(call, at, 1, 1)?;
                let count = self.constant(&call.args[0], "the number of CollectTop")?;
                if !(1..=BACK_MAX).contains(&count) {
                    let message = format!("CollectTop gives 1 to {BACK_MAX} rows");
                    return Err(self.error(call.args[0].at, message));
                }
                AggregateKind::CollectTop(count as usize)
            }
            "percentile_cont" | "percentile_disc" => {
                self.count(call, at, 1, 1)?;
                let part = match call.args[0].kind {
                    Kind::Number(number) => number,
                    Kind::Whole(number) => number as f64,
                    _ => f64::NAN,
                };
                if !(0.0..=1.0).contains(&part) {
                    let message = "a percentile is a number from 0 to 1";
                    return Err(self.error(call.args[0].at, message));
                }
                AggregateKind::Percentile { at: part, continuous: name == "percentile_cont" }
            }
            _ => return Ok(None),
        }))
    }

    fn aggregate(&mut self, kind: AggregateKind, call: &Call, at: At) -> Result<Expr, Error> {
        use AggregateKind::{Collect, CollectTop, Count, CountDistinct, Percentile, TopOne};
        if self.aggregates.is_none() {
            let message = format!("an aggregate, `{}`, is not possible here", call.name);
            return Err(self.error(at, message));
        }
        if (call.star && kind != Count) || (call.distinct && kind != CountDistinct) {
            let message = format!("not implemented: `*` or DISTINCT in `{}`", call.name);
            return Err(self.error(at, message));
        }
        let ordered = matches!(kind, TopOne | CollectTop(_) | Percentile { .. });
        let over = call.over.as_ref();
        let order = over.map(|over| over.order.as_slice()).unwrap_or_default();
        if let Some(over) = over
            && (!ordered || !over.partition.is_empty() || over.limit.is_some() || over.when.is_some())
        {
            let message = format!("not implemented: `{}` OVER anything but ORDER BY", call.name);
            return Err(self.error(at, message));
        }
        if ordered && order.is_empty() {
            let message = format!("`{}` needs OVER (ORDER BY …)", call.name);
            return Err(self.error(at, message));
        }
        let mut rows =
            Scope { text: self.text, slots: self.slots, analytics: self.analytics.as_deref_mut(), aggregates: None };
        let mut compiled = Vec::new();
        for (key, descending) in order {
            compiled.push((rows.compile(key)?, *descending));
        }
        let filter = match &call.filter {
            Some(filter) => Some(rows.compile(filter)?),
            None => None,
        };
        let value = match kind {
            Percentile { .. } => {
                if compiled.len() != 1 {
                    return Err(rows.error(at, "a percentile is ordered by one value"));
                }
                Some(compiled[0].0.clone())
            }
            TopOne | CollectTop(_) => None,
            Collect if call.args.is_empty() => None,
            Count if call.star => None,
            _ => {
                rows.count(call, at, 1, 1)?;
                Some(rows.compile(&call.args[0])?)
            }
        };
        if kind == TopOne {
            rows.count(call, at, 0, 0)?;
        }
        let aggregate = Aggregate { kind, value, order: compiled, filter };
        let known = self.aggregates.as_deref_mut().expect("checked above");
        Ok(Expr::Aggregate(place(known, aggregate)))
    }

    fn analytic(&mut self, name: &str, call: &Call, at: At) -> Result<Expr, Error> {
        if self.analytics.is_none() {
            let message = format!("`{}` is not possible here", call.name);
            return Err(self.error(at, message));
        }
        let none = Over::default();
        let over = call.over.as_ref().unwrap_or(&none);
        if !over.order.is_empty() {
            let message = format!("`{}` has no ORDER BY: rows come in the order of time", call.name);
            return Err(self.error(at, message));
        }
        let mut rows = Scope::rows(self.text, self.slots);
        let kind = match name {
            "lag" => {
                rows.count(call, at, 1, 3)?;
                let offset = match call.args.get(1) {
                    Some(offset) => rows.constant(offset, "the offset of LAG")?,
                    None => 1,
                };
                if !(1..=BACK_MAX).contains(&offset) {
                    let message = format!("LAG looks back 1 to {BACK_MAX} rows");
                    return Err(rows.error(at, message));
                }
                AnalyticKind::Lag {
                    value: rows.compile(&call.args[0])?,
                    offset: offset as usize,
                    default: match call.args.get(2) {
                        Some(default) => Some(rows.compile(default)?),
                        None => None,
                    },
                }
            }
            "last" => {
                rows.count(call, at, 1, 1)?;
                AnalyticKind::Last { value: rows.compile(&call.args[0])? }
            }
            "isfirst" => {
                let interval = duration(self.text, &call.args, at)?;
                if !(1..=7 * DAY).contains(&interval) {
                    let message = "the interval of ISFIRST is more than nothing and at most 7 days";
                    return Err(rows.error(at, message));
                }
                AnalyticKind::IsFirst { interval }
            }
            _ => rows.anomaly(name, call, at)?,
        };
        let partition = rows.all(&over.partition)?;
        let when = match &over.when {
            Some(when) => Some(rows.compile(when)?),
            None => None,
        };
        let limit = match (&over.limit, &kind) {
            (None, AnalyticKind::IsFirst { interval }) => *interval,
            (Some(limit), AnalyticKind::IsFirst { .. }) => {
                return Err(self.error(limit.at, "ISFIRST has no LIMIT: its interval is one"));
            }
            (Some(limit), _) => match &limit.kind {
                Kind::Call(limit_call) if limit_call.name.eq_ignore_ascii_case("duration") => {
                    let ticks = duration(self.text, &limit_call.args, limit.at)?;
                    if !(1..=7 * DAY).contains(&ticks) {
                        let message = "LIMIT DURATION is more than nothing and at most 7 days";
                        return Err(self.error(limit.at, message));
                    }
                    ticks
                }
                _ => return Err(self.error(limit.at, "expected LIMIT DURATION(unit, number)")),
            },
            (None, _) => {
                let message = format!("`{}` needs OVER (… LIMIT DURATION(unit, number))", call.name);
                return Err(self.error(at, message));
            }
        };
        let analytic = Analytic { kind, partition, limit, when };
        let known = self.analytics.as_deref_mut().expect("checked above");
        Ok(Expr::Analytic(place(known, analytic)))
    }

    fn anomaly(&mut self, name: &str, call: &Call, at: At) -> Result<AnalyticKind, Error> {
        let spikes = name == "anomalydetection_spikeanddip";
        let count = if spikes { 4 } else { 3 };
        self.count(call, at, count, count)?;
        let value = self.compile(&call.args[0])?;
        let confidence = match call.args[1].kind {
            Kind::Whole(number) => number as f64,
            Kind::Number(number) => number,
            _ => f64::NAN,
        };
        if !(1.0..=100.0).contains(&confidence) {
            let message = "the confidence is a number from 1 to 100";
            return Err(self.error(call.args[1].at, message));
        }
        let history = self.constant(&call.args[2], "the size of the history")?;
        if !(2..=BACK_MAX).contains(&history) {
            let message = format!("the size of the history is 2 to {BACK_MAX}");
            return Err(self.error(call.args[2].at, message));
        }
        let history = history as usize;
        if !spikes {
            return Ok(AnalyticKind::ChangePoint { value, confidence, history });
        }
        let mode = self.literal_text(&call.args[3], "the mode of AnomalyDetection_SpikeAndDip")?;
        let mode = match mode.to_ascii_lowercase().as_str() {
            "spikes" => Spikes::Up,
            "dips" => Spikes::Down,
            "spikesanddips" => Spikes::Both,
            _ => {
                let message = "expected 'spikes', 'dips' or 'spikesanddips'";
                return Err(self.error(call.args[3].at, message));
            }
        };
        Ok(AnalyticKind::SpikeAndDip { value, confidence, history, mode })
    }

    fn error(&self, at: At, message: impl Into<String>) -> Error {
        lex::error(self.text, at, message)
    }
}

/// The place of something in a list, where it is once however often it is written.
fn place<T: PartialEq>(known: &mut Vec<T>, one: T) -> usize {
    known.iter().position(|other| *other == one).unwrap_or_else(|| {
        known.push(one);
        known.len() - 1
    })
}

/// A column by its name: as written, else without regard to case.
fn find<'c>(columns: &'c [Arc<str>], name: &str) -> Option<&'c Arc<str>> {
    let exact = columns.iter().find(|column| &***column == name);
    exact.or_else(|| columns.iter().find(|column| column.eq_ignore_ascii_case(name)))
}
