//! One query at one instant: rows come in at its doors, are joined, filtered, grouped, and given on.

use std::sync::Arc;

use super::analytic::{self, Calls};
use super::group::{self, Groups};
use super::held::Held;
use super::join::{JoinState, ReferenceIndex};
use crate::codec::{Hash, Read, Reader, Writer};
use crate::error::Failure;
use crate::expr::Env;
use crate::functions::records::{elements, properties};
use crate::job::{InputKind, OnError, Settings};
use crate::plan::{Item, Node, Stage};
use crate::row::{Row, Tuple};
use crate::time::{self, Ticks};
use crate::value::Value;

/// Events that could not be evaluated.
#[derive(Debug, Clone)]
pub(crate) struct Faults {
    pub on_error: OnError,
    pub count: u64,
    /// What was wrong with the newest of them.
    pub last: Option<String>,
}

impl Faults {
    /// The result, or nothing when it is an error and such events are dropped.
    pub(crate) fn check<T>(&mut self, result: Result<T, String>, at: Ticks) -> Result<Option<T>, Failure> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(message) if self.on_error == OnError::Stop => {
                Err(Failure::Event { timestamp: time::text(at.max(0)), message })
            }
            Err(message) => {
                self.count += 1;
                self.last = Some(message);
                Ok(None)
            }
        }
    }
}

/// The state of a query.
pub(crate) struct NodeState {
    /// One for each stage.
    stages: Vec<StageState>,
    calls: Vec<Calls>,
    groups: Option<Groups>,
}

enum StageState {
    Join(JoinState),
    Reference(ReferenceIndex),
    Apply,
}

/// What the caller lends for an instant.
pub(crate) struct Context<'a> {
    pub at: Ticks,
    pub held: &'a mut Held,
    pub faults: &'a mut Faults,
}

impl NodeState {
    pub(crate) fn new(node: &Node, settings: &Settings) -> NodeState {
        let stage = |stage: &Stage| match stage {
            Stage::Stream(_) => StageState::Join(JoinState::default()),
            Stage::Reference { input, keys, .. } => {
                let rows = match &settings.inputs[*input].kind {
                    InputKind::Reference(rows) => rows.as_slice(),
                    InputKind::Stream { .. } => &[],
                };
                StageState::Reference(ReferenceIndex::new(rows, keys))
            }
            Stage::Apply { .. } => StageState::Apply,
        };
        NodeState {
            stages: node.stages.iter().map(stage).collect(),
            calls: node.analytics.iter().map(|_| Calls::default()).collect(),
            groups: node.grouping.as_ref().map(Groups::new),
        }
    }

    /// Exchanges the rows of the reference data that is this input.
    pub(crate) fn refer(&mut self, node: &Node, of: usize, rows: &[Value]) {
        for (stage, state) in node.stages.iter().zip(&mut self.stages) {
            if let (Stage::Reference { input, keys, .. }, StageState::Reference(index)) = (stage, state)
                && *input == of
            {
                *index = ReferenceIndex::new(rows, keys);
            }
        }
    }

    /// When something is due without a row that comes.
    pub(crate) fn due(&self, node: &Node) -> Option<Ticks> {
        let joins = node.stages.iter().zip(&self.stages).filter_map(|(stage, state)| match (stage, state) {
            (Stage::Stream(join), StageState::Join(state)) => state.due(join),
            _ => None,
        });
        joins.chain(self.groups.as_ref().and_then(Groups::due)).min()
    }

    /// Takes the rows of an instant with the doors they come to, and gives what follows from them then.
    pub(crate) fn step(
        &mut self,
        (number, node): (usize, &Node),
        mut rows: Vec<(usize, Row)>,
        context: &mut Context<'_>,
    ) -> Result<Vec<Row>, Failure> {
        let at = context.at;
        if rows.is_empty() && self.due(node).is_none_or(|due| due > at) {
            return Ok(Vec::new());
        }
        // Stable: rows of one door stay in their order.
        rows.sort_by_key(|(port, _)| *port);
        let mut doors = rows.into_iter().peekable();
        let mut door = |port: usize| {
            let mut of_door = Vec::new();
            while let Some((_, row)) = doors.next_if(|(of, _)| *of == port) {
                of_door.push(row);
            }
            of_door
        };
        let mut tuples: Vec<Tuple> = door(0).into_iter().map(Tuple::of).collect();
        for (index, (stage, state)) in node.stages.iter().zip(&mut self.stages).enumerate() {
            tuples = match (stage, state) {
                (Stage::Stream(join), StageState::Join(state)) => {
                    let right = door(index + 1);
                    state.step(join, at, tuples, right, context.held, context.faults)?
                }
                (Stage::Reference { outer, keys, rest, .. }, StageState::Reference(reference)) => {
                    reference.join((*outer, keys, rest), at, tuples, context.held, context.faults)?
                }
                (Stage::Apply { outer, properties, argument }, _) => {
                    let mut applied = Vec::new();
                    for tuple in tuples {
                        let value = argument.evaluate(&env_of(&tuple, &[]));
                        let Some(value) = context.faults.check(value, at)? else {
                            continue;
                        };
                        apply(*outer, *properties, &tuple, &value, &mut applied);
                        context.held.check_rows(applied.len())?;
                    }
                    applied
                }
                _ => unreachable!("the state was made from the same plan"),
            };
        }
        let mut out = Vec::new();
        for tuple in tuples {
            self.row((number, node), &tuple, context, &mut out)?;
        }
        self.end((number, node), context, &mut out)?;
        Ok(out)
    }

    /// One row after all joins.
    fn row(
        &mut self,
        (number, node): (usize, &Node),
        tuple: &Tuple,
        context: &mut Context<'_>,
        out: &mut Vec<Row>,
    ) -> Result<(), Failure> {
        let at = context.at;
        let mut analytics = Vec::new();
        if !node.analytics.is_empty() {
            let env = env_of(tuple, &[]);
            let values = analytic::evaluate(&node.analytics, &mut self.calls, &env, context.held)?;
            match context.faults.check(values, at)? {
                Some(values) => analytics = values,
                None => return Ok(()),
            }
        }
        let env = env_of(tuple, &analytics);
        if let Some(filter) = &node.filter {
            let holds = context.faults.check(filter.holds(&env), at)?;
            if holds != Some(true) {
                return Ok(());
            }
        }
        if let (Some(grouping), Some(groups)) = (&node.grouping, &mut self.groups) {
            let contribution = group::contribution(grouping, &env);
            if let Some(contribution) = context.faults.check(contribution, at)? {
                groups.add(grouping, at, &contribution, context.held)?;
            }
            return Ok(());
        }
        if let Some(fields) = context.faults.check(columns(&node.items, &env), at)? {
            out.push(Row {
                timestamp: at,
                identity: Hash::new().number(number as i64).wide(tuple.identity).0,
                value: Value::record(fields),
                user: None,
            });
        }
        Ok(())
    }

    /// Windows that end at this instant.
    fn end(
        &mut self,
        (number, node): (usize, &Node),
        context: &mut Context<'_>,
        out: &mut Vec<Row>,
    ) -> Result<(), Failure> {
        let (Some(grouping), Some(groups)) = (&node.grouping, &mut self.groups) else {
            return Ok(());
        };
        let at = context.at;
        for ended in groups.end(grouping, at, context.held) {
            let env = Env {
                timestamp: at,
                keys: &ended.keys,
                aggregates: &ended.values,
                window: Some((&grouping.windows[ended.window].id, ended.start)),
                ..Env::default()
            };
            if let Some(having) = &node.having {
                let holds = context.faults.check(having.holds(&env), at)?;
                if holds != Some(true) {
                    continue;
                }
            }
            if let Some(fields) = context.faults.check(columns(&node.items, &env), at)? {
                let identity =
                    Hash::new().number(number as i64).number(ended.window as i64).number(at).bytes(&ended.key);
                out.push(Row { timestamp: at, identity: identity.0, value: Value::record(fields), user: None });
            }
        }
        Ok(())
    }

    pub(crate) fn write(&self, writer: &mut Writer) {
        for stage in &self.stages {
            if let StageState::Join(state) = stage {
                state.write(writer);
            }
        }
        for calls in &self.calls {
            calls.write(writer);
        }
        if let Some(groups) = &self.groups {
            groups.write(writer);
        }
    }

    pub(crate) fn read(&mut self, node: &Node, reader: &mut Reader<'_>) -> Read<()> {
        for (index, stage) in self.stages.iter_mut().enumerate() {
            if let StageState::Join(state) = stage {
                // Every stage before this one has added a slot.
                *state = JoinState::read(index + 1, reader)?;
            }
        }
        for (call, calls) in node.analytics.iter().zip(&mut self.calls) {
            *calls = Calls::read(call, reader)?;
        }
        if let (Some(grouping), Some(groups)) = (&node.grouping, &mut self.groups) {
            groups.read(grouping, reader)?;
        }
        Ok(())
    }
}

fn env_of<'a>(tuple: &'a Tuple, analytics: &'a [Value]) -> Env<'a> {
    Env { slots: &tuple.slots, timestamp: tuple.timestamp, analytics, ..Env::default() }
}

fn apply(outer: bool, of_record: bool, tuple: &Tuple, value: &Value, applied: &mut Vec<Tuple>) {
    // Whatever is no array has no elements.
    let found = if of_record { properties(value) } else { elements(value) };
    let found = found.unwrap_or_default();
    if found.is_empty() && outer {
        applied.push(tuple.with(Row::none(), tuple.timestamp));
    }
    for (index, element) in found.into_iter().enumerate() {
        let row = Row { timestamp: tuple.timestamp, identity: index as u128, value: element, user: None };
        applied.push(tuple.with(row, tuple.timestamp));
    }
}

/// What is selected, as the fields of a record. Of two columns with one name the second gets a number.
pub(crate) fn columns(items: &[Item], env: &Env<'_>) -> Result<Vec<(Arc<str>, Value)>, String> {
    let mut fields: Vec<(Arc<str>, Value)> = Vec::with_capacity(items.len());
    for item in items {
        match item {
            Item::One(name, value) => fields.push((name.clone(), value.evaluate(env)?)),
            Item::All(slots) => {
                for slot in slots {
                    let Value::Record(record) = &env.slots[*slot].value else {
                        continue;
                    };
                    let before = fields.len();
                    for (name, value) in &record.fields {
                        let taken =
                            |wanted: &str| fields[..before].iter().any(|(name, _)| name.eq_ignore_ascii_case(wanted));
                        let mut called = name.clone();
                        let mut number = 1;
                        while taken(&called) {
                            called = format!("{name}_{number}").into();
                            number += 1;
                        }
                        fields.push((called, value.clone()));
                    }
                }
            }
        }
    }
    Ok(fields)
}
