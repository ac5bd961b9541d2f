//! A question about a template to what is asked: names resolved, limits filled in.
//!
//! What is given out is plain data that any engine can answer. A question is about telemetry when it names telemetry,
//! `$ts` or a window, else about properties, of which each device is one row. Rows of windows say when theirs ends,
//! asked for or not, as the published example has it.

use super::{
    Function, GroupKey, Item, PROPERTY_ROWS_MAX, Question, QuestionError, TELEMETRY_ROWS_MAX, Test, WITHIN_DEFAULT_MS,
    Within,
};
use crate::language::compare::Comparison;
use crate::language::{Condition, Literal};
use crate::templates::Capabilities;

/// What rows are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Messages of devices.
    Telemetry,
    /// Devices.
    Properties,
}

/// Where a value comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// The id of the device.
    Id,
    /// When the message was, or when its window ends.
    Time,
    /// Whether the device was provisioned.
    Provisioned,
    /// Whether the device is simulated.
    Simulated,
    /// A telemetry value.
    Telemetry {
        /// Of this component; of the device itself without.
        component: Option<String>,
        /// Its name.
        name: String,
    },
    /// A property.
    Property {
        /// Of this component; of the device itself without.
        component: Option<String>,
        /// Its name.
        name: String,
        /// Whether it is kept by the application only.
        is_cloud: bool,
    },
}

/// A column of the result.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Column {
    /// Its name in rows, unique.
    pub name: String,
    /// What is made of the values.
    pub function: Option<Function>,
    /// The values.
    pub source: Source,
}

/// A test of one row.
#[derive(Clone, PartialEq, Debug)]
pub enum PlanTest {
    /// A comparison with a literal.
    Compare(Source, Comparison, Literal),
    /// Whether it is one of some.
    In(Source, Vec<Literal>),
}

/// When telemetry is looked at.
pub type TimeRange = Within;

/// What rows are sorted by.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Key {
    /// A column of the result, by its place.
    Column(usize),
    /// A value that is no column.
    Source(Source),
}

/// What is asked.
#[derive(Clone, PartialEq, Debug)]
pub struct Plan {
    /// What rows are.
    pub kind: Kind,
    /// The columns of the result.
    pub columns: Vec<Column>,
    /// When telemetry is looked at; ever without.
    pub within: Option<TimeRange>,
    /// Which rows.
    pub condition: Option<Condition<PlanTest>>,
    /// What rows are put together by, beside the window.
    pub group_by: Vec<Source>,
    /// The window rows are put together by, in milliseconds.
    pub window_ms: Option<i64>,
    /// What rows are sorted by, with whether it descends.
    pub order_by: Vec<(Key, bool)>,
    /// How many rows at most.
    pub limit: u32,
}

impl Plan {
    /// Whether rows are put together.
    #[must_use]
    pub fn is_aggregate(&self) -> bool {
        self.columns.iter().any(|column| column.function.is_some())
    }
}

/// Resolves a question about a template that has these capabilities.
///
/// # Errors
/// [`QuestionError`].
pub fn plan(question: Question, capabilities: &Capabilities) -> Result<Plan, QuestionError> {
    let names = Names { capabilities, items: &question.items };
    let (window_ms, group_by) = groups(&names, &question.group_by)?;
    let columns = with_time(columns(&names)?, window_ms);
    let is_aggregate = columns.iter().any(|column| column.function.is_some());
    let mut test = |test| names.test(test);
    let condition = question.condition.clone().map(|condition| condition.try_map(&mut test)).transpose()?;
    let order_by = order(&names, &columns, &question.order_by)?;
    let tested = condition.iter().flat_map(Condition::tests).map(PlanTest::source);
    let sorted = order_by.iter().filter_map(|(key, _)| match key {
        Key::Source(source) => Some(source),
        Key::Column(_) => None,
    });
    let sources = columns.iter().map(|column| &column.source).chain(tested).chain(&group_by).chain(sorted);
    let kind = kind(sources, question.within.is_some() || window_ms.is_some())?;
    check_groups(&columns, &group_by, window_ms, is_aggregate)?;
    check_order(&order_by, &group_by, is_aggregate)?;
    check_in(condition.as_ref())?;
    let most = if kind == Kind::Telemetry { TELEMETRY_ROWS_MAX } else { PROPERTY_ROWS_MAX };
    Ok(Plan {
        kind,
        within: question.within.or(is_aggregate.then_some(Within::Past(WITHIN_DEFAULT_MS))),
        condition,
        group_by,
        window_ms,
        order_by,
        limit: question.top.unwrap_or(most).min(most),
        columns,
    })
}

struct Names<'a> {
    capabilities: &'a Capabilities,
    items: &'a [Item],
}

impl Names<'_> {
    /// What an item or key is.
    fn source(&self, name: &str) -> Result<Source, QuestionError> {
        match name {
            "$id" => return Ok(Source::Id),
            "$ts" => return Ok(Source::Time),
            "$provisioned" => return Ok(Source::Provisioned),
            "$simulated" => return Ok(Source::Simulated),
            _ => {}
        }
        let (component, short) = match name.split_once('.') {
            Some((component, short)) => (Some(component), short),
            None => (None, name),
        };
        let part = self.capabilities.part(component);
        let (component, short) = (component.map(str::to_owned), short.to_owned());
        if part.is_some_and(|part| part.telemetry(&short).is_some()) {
            return Ok(Source::Telemetry { component, name: short });
        }
        match part.and_then(|part| part.property(&short)) {
            Some(property) => Ok(Source::Property { component, name: short, is_cloud: property.is_cloud }),
            None => Err(QuestionError::UnknownName(name.to_owned())),
        }
    }

    /// What a name of a condition or key is: an alias before what the template has.
    fn aliased(&self, name: &str) -> Result<Source, QuestionError> {
        match self.items.iter().find(|item| item.alias.as_deref() == Some(name)) {
            Some(item) if item.function.is_some() => {
                Err(misplaced(name, "is made of many rows and says nothing of one"))
            }
            Some(item) => self.source(&item.name),
            None => self.source(name),
        }
    }

    fn test(&self, test: Test) -> Result<PlanTest, QuestionError> {
        let source = self.aliased(test.name())?;
        Ok(match test {
            Test::Compare(_, comparison, literal) => PlanTest::Compare(source, comparison, literal),
            Test::In(_, list) => PlanTest::In(source, list),
        })
    }
}

impl PlanTest {
    /// What it looks at.
    #[must_use]
    pub fn source(&self) -> &Source {
        match self {
            Self::Compare(source, ..) | Self::In(source, _) => source,
        }
    }
}

impl Source {
    /// As a question names it.
    #[must_use]
    pub fn shown(&self) -> String {
        match self {
            Self::Id => "$id".to_owned(),
            Self::Time => "$ts".to_owned(),
            Self::Provisioned => "$provisioned".to_owned(),
            Self::Simulated => "$simulated".to_owned(),
            Self::Telemetry { component: Some(part), name } | Self::Property { component: Some(part), name, .. } => {
                format!("{part}.{name}")
            }
            Self::Telemetry { name, .. } | Self::Property { name, .. } => name.clone(),
        }
    }
}

fn misplaced(name: &str, what: &'static str) -> QuestionError {
    QuestionError::Misplaced { name: name.to_owned(), what }
}

fn columns(names: &Names<'_>) -> Result<Vec<Column>, QuestionError> {
    let mut all: Vec<Column> = vec![];
    for item in names.items {
        let source = names.source(&item.name)?;
        if item.function.is_some() && !matches!(source, Source::Telemetry { .. }) {
            return Err(misplaced(&item.name, "is no telemetry, and only telemetry is aggregated"));
        }
        let name = match (&item.alias, item.function) {
            (Some(alias), _) => alias.clone(),
            (None, Some(function)) => format!("{}_{}", function.word(), item.name),
            (None, None) => item.name.clone(),
        };
        // An alias that is another item's name would make conditions say two things.
        let is_taken = names.items.iter().any(|other| other != item && item.alias.as_deref() == Some(&other.name));
        if is_taken || all.iter().any(|column| column.name == name) {
            return Err(misplaced(&name, "names two columns"));
        }
        all.push(Column { name, function: item.function, source });
    }
    Ok(all)
}

/// Columns with the end of the window first, if rows are put together by one and do not have it.
fn with_time(mut columns: Vec<Column>, window_ms: Option<i64>) -> Vec<Column> {
    if window_ms.is_some() && columns.iter().all(|column| column.source != Source::Time) {
        columns.insert(0, Column { name: Source::Time.shown(), function: None, source: Source::Time });
    }
    columns
}

fn groups(names: &Names<'_>, keys: &[GroupKey]) -> Result<(Option<i64>, Vec<Source>), QuestionError> {
    let (mut window, mut sources) = (None, vec![]);
    for key in keys {
        match key {
            GroupKey::Window(ms) => window = Some(*ms),
            GroupKey::Name(name) => sources.push(names.aliased(name)?),
        }
    }
    Ok((window, sources))
}

fn order(names: &Names<'_>, columns: &[Column], keys: &[(String, bool)]) -> Result<Vec<(Key, bool)>, QuestionError> {
    let one = |(name, is_descending): &(String, bool)| {
        if let Some(at) = columns.iter().position(|column| column.name == *name) {
            return Ok((Key::Column(at), *is_descending));
        }
        Ok((Key::Source(names.aliased(name)?), *is_descending))
    };
    keys.iter().map(one).collect()
}

fn kind<'s>(sources: impl Iterator<Item = &'s Source>, has_window: bool) -> Result<Kind, QuestionError> {
    let (mut telemetry, mut property) = (None, None);
    for source in sources {
        match source {
            Source::Telemetry { .. } | Source::Time => telemetry = telemetry.or(Some(source)),
            Source::Property { .. } => property = property.or(Some(source)),
            Source::Id | Source::Provisioned | Source::Simulated => {}
        }
    }
    match (telemetry, property) {
        (Some(telemetry), Some(property)) => {
            Err(QuestionError::Mixed { telemetry: telemetry.shown(), property: property.shown() })
        }
        (None, Some(property)) if has_window => {
            Err(misplaced(&property.shown(), "is a property, and only telemetry has windows of time"))
        }
        (None, _) if !has_window => Ok(Kind::Properties),
        _ => Ok(Kind::Telemetry),
    }
}

fn check_groups(
    columns: &[Column],
    group_by: &[Source],
    window_ms: Option<i64>,
    is_aggregate: bool,
) -> Result<(), QuestionError> {
    if !is_aggregate {
        return match (group_by.first(), window_ms) {
            (None, None) => Ok(()),
            (Some(source), _) => Err(misplaced(&source.shown(), "is grouped by, and nothing is aggregated")),
            (None, Some(_)) => Err(misplaced("WINDOW", "is grouped by, and nothing is aggregated")),
        };
    }
    let is_known = |column: &&Column| {
        column.function.is_some()
            || group_by.contains(&column.source)
            || (window_ms.is_some() && column.source == Source::Time)
    };
    match columns.iter().find(|column| !is_known(column)) {
        Some(column) => Err(misplaced(&column.name, "is neither aggregated nor grouped by")),
        None => Ok(()),
    }
}

/// Rows that are put together are sorted by what is left of them.
fn check_order(order_by: &[(Key, bool)], group_by: &[Source], is_aggregate: bool) -> Result<(), QuestionError> {
    let lost = order_by.iter().find_map(|(key, _)| match key {
        Key::Source(source) if !group_by.contains(source) => Some(source),
        _ => None,
    });
    match lost {
        Some(source) if is_aggregate => {
            Err(misplaced(&source.shown(), "is no column of the result and cannot sort it"))
        }
        _ => Ok(()),
    }
}

/// `IN` is for telemetry and ids of devices.
fn check_in(condition: Option<&Condition<PlanTest>>) -> Result<(), QuestionError> {
    let lists = condition.into_iter().flat_map(Condition::tests).filter_map(|test| match test {
        PlanTest::In(source, _) => Some(source),
        PlanTest::Compare(..) => None,
    });
    for source in lists {
        if !matches!(source, Source::Id | Source::Telemetry { .. }) {
            return Err(misplaced(&source.shown(), "cannot be looked up with IN, which is for telemetry and `$id`"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
