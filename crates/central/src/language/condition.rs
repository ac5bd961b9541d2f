//! Tests put together with `and`, `or` and parentheses.

use super::{Reader, SyntaxError};

/// Parentheses inside of parentheses.
const NESTING_MAX: usize = 20;

/// Tests put together. What is in a list is at least two.
#[derive(Clone, PartialEq, Debug)]
pub enum Condition<T> {
    /// One test.
    Test(T),
    /// All of them.
    All(Vec<Self>),
    /// One of them.
    Any(Vec<Self>),
}

impl<T> Condition<T> {
    /// Whether it holds, when `test` says which tests do.
    pub fn holds(&self, test: &mut impl FnMut(&T) -> bool) -> bool {
        match self {
            Self::Test(one) => test(one),
            Self::All(all) => all.iter().all(|one| one.holds(test)),
            Self::Any(all) => all.iter().any(|one| one.holds(test)),
        }
    }

    /// Tests that hold whenever the whole does.
    pub fn required(&self) -> Vec<&T> {
        match self {
            Self::Test(one) => vec![one],
            Self::All(all) => all.iter().flat_map(Self::required).collect(),
            Self::Any(_) => vec![],
        }
    }

    /// All tests.
    pub fn tests(&self) -> Vec<&T> {
        match self {
            Self::Test(one) => vec![one],
            Self::All(all) | Self::Any(all) => all.iter().flat_map(Self::tests).collect(),
        }
    }

    /// The same with other tests.
    ///
    /// # Errors
    /// The first of `change`.
    pub fn try_map<U, E>(self, change: &mut impl FnMut(T) -> Result<U, E>) -> Result<Condition<U>, E> {
        let mut list = |all: Vec<Self>| all.into_iter().map(|one| one.try_map(change)).collect::<Result<Vec<_>, E>>();
        Ok(match self {
            Self::Test(one) => Condition::Test(change(one)?),
            Self::All(all) => Condition::All(list(all)?),
            Self::Any(all) => Condition::Any(list(all)?),
        })
    }
}

/// Reads a condition; `test` reads a test and says when there are too many.
pub(crate) fn parse<T>(
    reader: &mut Reader,
    test: &mut dyn FnMut(&mut Reader) -> Result<T, SyntaxError>,
) -> Result<Condition<T>, SyntaxError> {
    any(reader, test, NESTING_MAX)
}

type Test<'a, T> = &'a mut dyn FnMut(&mut Reader) -> Result<T, SyntaxError>;

fn any<T>(reader: &mut Reader, test: Test<'_, T>, depth: usize) -> Result<Condition<T>, SyntaxError> {
    let first = all(reader, test, depth)?;
    let mut more = vec![];
    while reader.take_word("or") {
        more.push(all(reader, test, depth)?);
    }
    Ok(joined(first, more, Condition::Any))
}

fn all<T>(reader: &mut Reader, test: Test<'_, T>, depth: usize) -> Result<Condition<T>, SyntaxError> {
    let first = one(reader, test, depth)?;
    let mut more = vec![];
    while reader.take_word("and") {
        more.push(one(reader, test, depth)?);
    }
    Ok(joined(first, more, Condition::All))
}

fn one<T>(reader: &mut Reader, test: Test<'_, T>, depth: usize) -> Result<Condition<T>, SyntaxError> {
    let at = reader.at();
    if !reader.take_mark('(') {
        return test(reader).map(Condition::Test);
    }
    let Some(below) = depth.checked_sub(1) else {
        return Err(SyntaxError::new(at, format!("there are more than {NESTING_MAX} parentheses in each other")));
    };
    let inside = any(reader, test, below)?;
    reader.want_mark(')')?;
    Ok(inside)
}

fn joined<T>(
    first: Condition<T>,
    more: Vec<Condition<T>>,
    list: fn(Vec<Condition<T>>) -> Condition<T>,
) -> Condition<T> {
    if more.is_empty() { first } else { list(std::iter::once(first).chain(more).collect()) }
}
