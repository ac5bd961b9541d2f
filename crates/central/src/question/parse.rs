//! The text of a question to its parts.

use gantry_identity::Timestamp;

use super::{ITEMS_MAX, OPERATORS_MAX, QUESTION_CHARS_MAX, duration};
use crate::ids::DeviceTemplateId;
use crate::language::compare::Comparison;
use crate::language::{Condition, Literal, Reader, SyntaxError, Token, condition};

/// A question, its names not resolved yet.
#[derive(Clone, PartialEq, Debug)]
pub struct Question {
    /// How many rows at most.
    pub top: Option<u32>,
    /// What is asked for.
    pub items: Vec<Item>,
    /// The template.
    pub template: DeviceTemplateId,
    /// Since when, or between when.
    pub within: Option<Within>,
    /// Which rows.
    pub condition: Option<Condition<Test>>,
    /// What is put together.
    pub group_by: Vec<GroupKey>,
    /// Columns with whether they descend.
    pub order_by: Vec<(String, bool)>,
}

/// Something asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Item {
    /// What is made of it.
    pub function: Option<Function>,
    /// What it is.
    pub name: String,
    /// What it is called in the result.
    pub alias: Option<String>,
}

/// What is made of many values.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Function {
    /// Their sum.
    Sum,
    /// The greatest.
    Max,
    /// The least.
    Min,
    /// How many.
    Count,
    /// Their mean.
    Avg,
    /// The earliest.
    First,
    /// The latest.
    Last,
}

impl Function {
    const WORDS: [(Self, &'static str); 7] = [
        (Self::Sum, "sum"),
        (Self::Max, "max"),
        (Self::Min, "min"),
        (Self::Count, "count"),
        (Self::Avg, "avg"),
        (Self::First, "first"),
        (Self::Last, "last"),
    ];

    /// Its word in names of columns.
    #[must_use]
    pub fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(of, _)| *of == self).map_or("", |(_, word)| word)
    }

    fn parse(word: &str) -> Option<Self> {
        Self::WORDS.iter().find(|(_, of)| of.eq_ignore_ascii_case(word)).map(|(of, _)| *of)
    }
}

/// A test of one row.
#[derive(Clone, PartialEq, Debug)]
pub enum Test {
    /// A comparison with a literal.
    Compare(String, Comparison, Literal),
    /// Whether it is one of some.
    In(String, Vec<Literal>),
}

impl Test {
    /// What it looks at.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Compare(name, ..) | Self::In(name, _) => name,
        }
    }
}

/// When telemetry was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Within {
    /// So many milliseconds ago and later.
    Past(i64),
    /// From an instant until before another.
    Between(Timestamp, Timestamp),
}

/// What rows are put together by.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum GroupKey {
    /// Windows of so many milliseconds.
    Window(i64),
    /// A name.
    Name(String),
}

/// Reads a question.
///
/// # Errors
/// [`SyntaxError`] says what is wrong, and where.
pub fn parse(text: &str) -> Result<Question, SyntaxError> {
    let mut reader = Reader::new(text, QUESTION_CHARS_MAX)?;
    reader.want_word("SELECT")?;
    let top = if reader.take_word("TOP") { Some(top(&mut reader)?) } else { None };
    let items = items(&mut reader)?;
    reader.want_word("FROM")?;
    let id = match reader.peek() {
        Some(Token::Dtmi(id)) => DeviceTemplateId::parse(id).ok(),
        _ => None,
    };
    let Some(template) = id else { return reader.wants("the id of a device template") };
    reader.take();
    let (within, condition) = if reader.take_word("WHERE") { conditions(&mut reader)? } else { (None, None) };
    let group_by = if reader.take_word("GROUP") { group_by(&mut reader)? } else { vec![] };
    let order_by = if reader.take_word("ORDER") { order_by(&mut reader)? } else { vec![] };
    reader.want_end()?;
    Ok(Question { top, items, template, within, condition, group_by, order_by })
}

fn top(reader: &mut Reader) -> Result<u32, SyntaxError> {
    let at = reader.at();
    match reader.want_literal()? {
        Literal::Integer(rows) if rows > 0 => Ok(u32::try_from(rows).unwrap_or(u32::MAX)),
        _ => Err(SyntaxError::new(at, "a number of rows above 0 is wanted")),
    }
}

fn items(reader: &mut Reader) -> Result<Vec<Item>, SyntaxError> {
    let mut all = vec![];
    loop {
        let at = reader.at();
        if all.len() >= ITEMS_MAX {
            return Err(SyntaxError::new(at, format!("there are more than {ITEMS_MAX} items")));
        }
        if reader.peek() == Some(&Token::Mark('*')) {
            return Err(SyntaxError::new(at, "`*` is none of the items, which are named"));
        }
        all.push(item(reader)?);
        if !reader.take_mark(',') {
            return Ok(all);
        }
    }
}

fn item(reader: &mut Reader) -> Result<Item, SyntaxError> {
    let at = reader.at();
    let word = name(reader)?;
    let (function, name) = if reader.take_mark('(') {
        let function = Function::parse(&word).ok_or_else(|| {
            SyntaxError::new(at, format!("`{word}` is no function; there are SUM, MAX, MIN, COUNT, AVG, FIRST, LAST"))
        })?;
        let name = name(reader)?;
        reader.want_mark(')')?;
        (Some(function), name)
    } else {
        (None, word)
    };
    let alias = if reader.take_word("AS") { Some(alias(reader)?) } else { None };
    Ok(Item { function, name, alias })
}

/// A name that is no keyword of the place after it.
fn name(reader: &mut Reader) -> Result<String, SyntaxError> {
    const KEYWORDS: [&str; 9] = ["FROM", "WHERE", "GROUP", "ORDER", "BY", "AND", "OR", "AS", "IN"];
    if KEYWORDS.iter().any(|keyword| reader.is_word(keyword)) { reader.wants("a name") } else { reader.want_name() }
}

fn alias(reader: &mut Reader) -> Result<String, SyntaxError> {
    let at = reader.at();
    let alias = name(reader)?;
    let is_plain = alias.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if is_plain { Ok(alias) } else { Err(SyntaxError::new(at, "an alias has letters, digits and `_` only")) }
}

/// A test, or the window in which all tests are.
enum Part {
    Test(Test),
    Within(usize, Within),
}

fn conditions(reader: &mut Reader) -> Result<(Option<Within>, Option<Condition<Test>>), SyntaxError> {
    let mut left = OPERATORS_MAX + 1;
    let whole = condition::parse(reader, &mut |reader| {
        left = left.checked_sub(1).ok_or_else(|| {
            SyntaxError::new(reader.at(), format!("there are more than {OPERATORS_MAX} operators `AND` and `OR`"))
        })?;
        part(reader)
    })?;
    let (windows, tests) = match whole {
        Condition::All(all) => all.into_iter().partition(|one| matches!(one, Condition::Test(Part::Within(..)))),
        Condition::Test(Part::Within(..)) => (vec![whole], vec![]),
        other => (vec![], vec![other]),
    };
    let mut within = None;
    for window in windows {
        if let Condition::Test(Part::Within(at, window)) = window
            && within.replace(window).is_some()
        {
            return Err(SyntaxError::new(at, "there is one WITHIN_WINDOW at most"));
        }
    }
    let mut only_tests = |part| match part {
        Part::Test(test) => Ok(test),
        Part::Within(at, _) => {
            Err(SyntaxError::new(at, "WITHIN_WINDOW is for the whole, not inside of OR or parentheses"))
        }
    };
    let tests = tests.into_iter().map(|one| one.try_map(&mut only_tests)).collect::<Result<Vec<_>, _>>()?;
    let condition = if tests.len() > 1 { Some(Condition::All(tests)) } else { tests.into_iter().next() };
    Ok((within, condition))
}

fn part(reader: &mut Reader) -> Result<Part, SyntaxError> {
    let at = reader.at();
    if reader.is_word("WITHIN_WINDOW") {
        reader.take();
        return within(reader).map(|within| Part::Within(at, within));
    }
    let name = name(reader)?;
    if reader.take_word("IN") {
        return list(reader).map(|list| Part::Test(Test::In(name, list)));
    }
    let Some(Token::Comparison(comparison)) = reader.peek().cloned() else { return reader.wants("a comparison") };
    reader.take();
    Ok(Part::Test(Test::Compare(name, comparison, reader.want_literal()?)))
}

fn list(reader: &mut Reader) -> Result<Vec<Literal>, SyntaxError> {
    reader.want_mark('[')?;
    let mut all = vec![reader.want_literal()?];
    while reader.take_mark(',') {
        all.push(reader.want_literal()?);
    }
    reader.want_mark(']')?;
    Ok(all)
}

fn within(reader: &mut Reader) -> Result<Within, SyntaxError> {
    reader.want_mark('(')?;
    let at = reader.at();
    let within = match reader.peek() {
        Some(Token::Word(word)) => duration::parse(word).map(Within::Past),
        Some(Token::Literal(Literal::Text(text))) => range(text).or_else(|| duration::parse(text).map(Within::Past)),
        _ => None,
    };
    let wanted = "a duration of weeks, days, hours, minutes and seconds (`P1D`, `PT10M`) or 'start/end' is wanted";
    let within = within.ok_or_else(|| SyntaxError::new(at, wanted))?;
    reader.take();
    reader.want_mark(')')?;
    Ok(within)
}

fn range(text: &str) -> Option<Within> {
    let (start, end) = text.split_once('/')?;
    let (start, end) = (Timestamp::parse(start)?, Timestamp::parse(end)?);
    (start < end).then_some(Within::Between(start, end))
}

fn group_by(reader: &mut Reader) -> Result<Vec<GroupKey>, SyntaxError> {
    reader.want_word("BY")?;
    let mut all = vec![];
    loop {
        let at = reader.at();
        let key = if reader.is_word("WINDOW") && reader.peek_second() == Some(&Token::Mark('(')) {
            reader.take();
            match within(reader)? {
                Within::Past(ms) => GroupKey::Window(ms),
                Within::Between(..) => return Err(SyntaxError::new(at, "a window has a duration")),
            }
        } else {
            GroupKey::Name(name(reader)?)
        };
        let is_window = |key: &GroupKey| matches!(key, GroupKey::Window(_));
        if all.contains(&key) || (is_window(&key) && all.iter().any(is_window)) {
            return Err(SyntaxError::new(at, "it is grouped by that already"));
        }
        all.push(key);
        if !reader.take_mark(',') {
            return Ok(all);
        }
    }
}

fn order_by(reader: &mut Reader) -> Result<Vec<(String, bool)>, SyntaxError> {
    reader.want_word("BY")?;
    let mut all = vec![];
    loop {
        let name = name(reader)?;
        let is_descending = reader.take_word("DESC");
        if !is_descending {
            reader.take_word("ASC");
        }
        all.push((name, is_descending));
        if !reader.take_mark(',') {
            return Ok(all);
        }
    }
}
