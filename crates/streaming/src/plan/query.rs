//! Queries as nodes: what they read, what they join, what they group by, what they give.

use std::sync::Arc;

use super::compile::{Scope, Slot};
use super::{Consumer, Grouping, Item, Node, Plan, Source, Stage, StreamJoin, window};
use crate::ast::{self, Binary, Joined, Kind, Name, Relation, Script};
use crate::error::Error;
use crate::expr::Expr;
use crate::job::{InputKind, Settings};
use crate::lex::{self, At};
use crate::time::{DAY, Unit};

/// Longest time between the two sides of a join of streams.
const JOIN_MAX: i64 = 7 * DAY;

/// Names of columns, when they are known.
type Columns = Option<Vec<Arc<str>>>;

pub(super) struct Planner<'a> {
    text: &'a str,
    settings: &'a Settings,
    plan: Plan,
    steps: Vec<Step>,
}

struct Step {
    name: String,
    nodes: Vec<usize>,
    columns: Columns,
}

/// Where the rows of a relation come from.
enum Feed {
    Nodes(Vec<usize>),
    Source(usize),
    Reference(usize),
}

impl<'a> Planner<'a> {
    pub(super) fn new(text: &'a str, settings: &'a Settings) -> Planner<'a> {
        Planner {
            text,
            settings,
            plan: Plan { sources: Vec::new(), nodes: Vec::new(), outputs: Vec::new() },
            steps: Vec::new(),
        }
    }

    pub(super) fn plan(mut self, script: &Script) -> Result<Plan, Error> {
        for step in &script.steps {
            let name = &step.name;
            let taken = self.steps.iter().any(|other| other.name.eq_ignore_ascii_case(&name.text))
                || self.input(&name.text).is_some();
            if taken {
                return Err(self.error(name.at, format!("`{}` is there already", name.text)));
            }
            let (nodes, columns) = self.query(&step.query)?;
            self.steps.push(Step { name: name.text.clone(), nodes, columns });
        }
        for statement in &script.statements {
            let name: Arc<str> = statement.output.text.as_str().into();
            if let Some(outputs) = &self.settings.outputs
                && !outputs.iter().any(|output| output.eq_ignore_ascii_case(&name))
            {
                return Err(self.error(statement.output.at, format!("there is no output `{name}`")));
            }
            let (nodes, _) = self.query(&statement.query)?;
            for node in nodes {
                self.plan.nodes[node].outputs.push(name.clone());
            }
            if !self.plan.outputs.contains(&name) {
                self.plan.outputs.push(name);
            }
        }
        Ok(self.plan)
    }

    fn input(&self, name: &str) -> Option<usize> {
        let inputs = &self.settings.inputs;
        inputs.iter().position(|input| input.name.eq_ignore_ascii_case(name))
    }

    /// The nodes of a query, one for each of its selects, and the columns they have in common.
    fn query(&mut self, query: &ast::Query) -> Result<(Vec<usize>, Columns), Error> {
        let mut nodes = Vec::new();
        let mut columns: Columns = None;
        for (index, select) in query.selects.iter().enumerate() {
            let (node, found) = self.select(select)?;
            if index == 0 {
                columns = found;
            } else {
                match (&columns, &found) {
                    (Some(first), Some(these)) if first.len() != these.len() => {
                        let message = format!("UNION of {} columns with {}", first.len(), these.len());
                        return Err(self.error(select.at, message));
                    }
                    // Columns are united by place, and are called as in the first select.
                    (Some(first), Some(_)) => {
                        let items = &mut self.plan.nodes[node].items;
                        if items.iter().all(|item| matches!(item, Item::One(..))) {
                            for (item, name) in items.iter_mut().zip(first) {
                                if let Item::One(old, _) = item {
                                    *old = name.clone();
                                }
                            }
                        } else if first != found.as_ref().unwrap_or(first) {
                            let message = "UNION of `*` with other columns";
                            return Err(self.error(select.at, message));
                        }
                    }
                    (None, None) => {}
                    _ => {
                        let message = "UNION of `*` with columns that are named";
                        return Err(self.error(select.at, message));
                    }
                }
            }
            nodes.push(node);
        }
        Ok((nodes, columns))
    }

    fn select(&mut self, select: &ast::Select) -> Result<(usize, Columns), Error> {
        let index = self.plan.nodes.len();
        let mut node = Node::default();
        let mut feeds = Vec::new();
        let (feed, slot) = self.relation(&select.from)?;
        if let Feed::Reference(_) = feed {
            let message = "reference data can only be joined to a stream";
            return Err(self.error(select.from.name.at, message));
        }
        feeds.push((feed, 0));
        let mut slots = vec![slot];
        let partition = self.relation_partition(&select.from, &slots)?;
        let mut sub_stream = self.sub_stream(&select.from, &slots)?;
        for joined in &select.joined {
            let port = node.stages.len() + 1;
            match joined {
                Joined::Apply { outer, properties, argument, alias } => {
                    let argument = Scope::rows(self.text, &slots).compile(argument)?;
                    self.no_such_slot(&slots, alias)?;
                    let names =
                        if *properties { ["PropertyName", "PropertyValue"] } else { ["ArrayIndex", "ArrayValue"] };
                    slots.push(Slot {
                        name: alias.text.clone(),
                        columns: Some(names.map(Arc::from).to_vec()),
                        metadata: false,
                    });
                    node.stages.push(Stage::Apply { outer: *outer, properties: *properties, argument });
                }
                Joined::Join { outer, relation, on } => {
                    let (feed, slot) = self.relation(relation)?;
                    self.no_such_slot(&slots, relation.called())?;
                    slots.push(slot);
                    let last = slots.len() - 1;
                    let right = self.relation_partition(relation, &slots[last..])?;
                    sub_stream.extend(self.sub_stream(relation, &slots)?);
                    let mut stage = self.join(*outer, on, &slots, &feed)?;
                    match (&partition, right, &mut stage) {
                        (Some(left), Some(right), Stage::Stream(join)) => {
                            join.keys.push((left.clone(), right));
                        }
                        (_, None, Stage::Reference { .. }) | (None, None, _) => {}
                        _ => {
                            let message = "not implemented: PARTITION BY of one side of a join";
                            return Err(self.error(relation.name.at, message));
                        }
                    }
                    node.stages.push(stage);
                    feeds.push((feed, port));
                }
            }
        }
        node.filter = match &select.filter {
            Some(filter) => Some(Scope::rows(self.text, &slots).with_analytics(&mut node.analytics).compile(filter)?),
            None => None,
        };
        let columns = self.items(select, &slots, &partition, &sub_stream, &mut node)?;
        if !node.analytics.is_empty() && !node.stages.is_empty() {
            let message = "not implemented: LAG, LAST, ISFIRST and the like in a query with JOIN or APPLY; use a step";
            return Err(self.error(select.at, message));
        }
        for analytic in &mut node.analytics {
            analytic.partition.extend(partition.clone());
        }
        for (feed, port) in feeds {
            let consumer = Consumer { node: index, port };
            match feed {
                Feed::Source(source) => self.plan.sources[source].consumers.push(consumer),
                Feed::Nodes(nodes) => {
                    for from in nodes {
                        self.plan.nodes[from].consumers.push(consumer);
                    }
                }
                Feed::Reference(_) => {}
            }
        }
        self.plan.nodes.push(node);
        Ok((index, columns))
    }

    /// What is selected, with the grouping it may need.
    fn items(
        &self,
        select: &ast::Select,
        slots: &[Slot],
        partition: &Option<Expr>,
        sub_stream: &[Expr],
        node: &mut Node,
    ) -> Result<Columns, Error> {
        let mut keys = Vec::new();
        let mut windows = Vec::new();
        for item in &select.group {
            if !window::parse(self.text, slots, item, &mut windows)? {
                keys.push(Scope::rows(self.text, slots).with_analytics(&mut node.analytics).compile(item)?);
            }
        }
        let mut aggregates = Vec::new();
        let mut columns: Columns = Some(Vec::new());
        let mut compiled = Vec::new();
        for (index, item) in select.items.iter().enumerate() {
            let all = match item {
                ast::Item::All(_) => (0..slots.len()).collect(),
                ast::Item::AllOf(name) => vec![self.slot(slots, name)?],
                ast::Item::One(value, name) => {
                    let name: Arc<str> = match name {
                        Some(name) => name.text.as_str().into(),
                        None => default_name(value, index).into(),
                    };
                    let value = Scope::rows(self.text, slots)
                        .with_analytics(&mut node.analytics)
                        .with_aggregates(&mut aggregates)
                        .compile(value)?;
                    if let Some(columns) = &mut columns {
                        if columns.iter().any(|column| column.eq_ignore_ascii_case(&name)) {
                            let message = format!("two columns are called `{name}`");
                            return Err(self.error(item_at(item), message));
                        }
                        columns.push(name.clone());
                    }
                    compiled.push((item_at(item), Item::One(name, value)));
                    continue;
                }
            };
            for slot in &all {
                match (&mut columns, &slots[*slot].columns) {
                    (Some(columns), Some(more)) => columns.extend(more.iter().cloned()),
                    _ => columns = None,
                }
            }
            compiled.push((item_at(item), Item::All(all)));
        }
        let mut having = match &select.having {
            Some(having) => Some(Scope::rows(self.text, slots).with_aggregates(&mut aggregates).compile(having)?),
            None => None,
        };
        let grouped = !select.group.is_empty() || !aggregates.is_empty() || having.is_some();
        if grouped {
            if windows.is_empty() {
                let message = "a group of a stream needs a window in GROUP BY";
                let at = select.group.first().map_or(select.at, |item| item.at);
                return Err(self.error(at, message));
            }
            for key in partition.iter().chain(sub_stream) {
                if !keys.contains(key) {
                    let message = "GROUP BY must contain the key of PARTITION BY and of TIMESTAMP BY … OVER";
                    return Err(self.error(select.group[0].at, message));
                }
            }
            for (at, item) in &mut compiled {
                match item {
                    Item::All(_) => {
                        return Err(self.error(*at, "a query with GROUP BY cannot select `*`"));
                    }
                    Item::One(_, value) => self.ground(value, &keys, *at)?,
                }
            }
            if let (Some(value), Some(written)) = (&mut having, &select.having) {
                self.ground(value, &keys, written.at)?;
            }
            node.grouping = Some(Grouping { keys, windows, aggregates });
        }
        node.having = having;
        node.items = compiled.into_iter().map(|(_, item)| item).collect();
        Ok(columns)
    }

    /// Puts keys of the group where an expression equals one; what else reads a row is an error.
    fn ground(&self, value: &mut Expr, keys: &[Expr], at: At) -> Result<(), Error> {
        if let Some(key) = keys.iter().position(|key| key == value) {
            *value = Expr::Key(key);
            return Ok(());
        }
        let named = match &*value {
            Expr::Field(_, name) | Expr::UserProperty(_, name) => name.to_string(),
            Expr::Slot(_) | Expr::SlotTime(_) => "a row".to_owned(),
            Expr::Analytic(_) => "a function with OVER".to_owned(),
            _ => {
                for child in value.children_mut() {
                    self.ground(child, keys, at)?;
                }
                return Ok(());
            }
        };
        let message = format!("`{named}` is neither in GROUP BY nor within an aggregate");
        Err(self.error(at, message))
    }

    fn slot(&self, slots: &[Slot], name: &Name) -> Result<usize, Error> {
        slots
            .iter()
            .position(|slot| slot.name.eq_ignore_ascii_case(&name.text))
            .ok_or_else(|| self.error(name.at, format!("nothing in FROM is called `{}`", name.text)))
    }

    fn no_such_slot(&self, slots: &[Slot], name: &Name) -> Result<(), Error> {
        match self.slot(slots, name) {
            Ok(_) => Err(self.error(name.at, format!("two of FROM are called `{}`", name.text))),
            Err(_) => Ok(()),
        }
    }

    fn relation(&mut self, relation: &Relation) -> Result<(Feed, Slot), Error> {
        let name = &relation.name;
        let mut slot = Slot { name: relation.called().text.clone(), columns: None, metadata: false };
        if let Some(step) = self.steps.iter().find(|step| step.name.eq_ignore_ascii_case(&name.text)) {
            if relation.timestamp.is_some() {
                let message = "TIMESTAMP BY belongs to an input, not to a step";
                return Err(self.error(name.at, message));
            }
            slot.columns.clone_from(&step.columns);
            return Ok((Feed::Nodes(step.nodes.clone()), slot));
        }
        let Some(input) = self.input(&name.text) else {
            let message = format!("there is no input and no step called `{}`", name.text);
            return Err(self.error(name.at, message));
        };
        if let InputKind::Reference(_) = self.settings.inputs[input].kind {
            if relation.timestamp.is_some() {
                let message = "reference data has no TIMESTAMP BY";
                return Err(self.error(name.at, message));
            }
            return Ok((Feed::Reference(input), slot));
        }
        slot.metadata = true;
        let alone = std::slice::from_ref(&slot);
        let compile = |value: &Option<ast::Expr>| match value {
            Some(value) => Scope::rows(self.text, alone).compile(value).map(Some),
            None => Ok(None),
        };
        let source = Source {
            input,
            timestamp: compile(&relation.timestamp)?,
            over: compile(&relation.over)?,
            consumers: Vec::new(),
        };
        let same =
            |other: &Source| other.input == input && other.timestamp == source.timestamp && other.over == source.over;
        let index = match self.plan.sources.iter().position(same) {
            Some(index) => index,
            None => {
                self.plan.sources.push(source);
                self.plan.sources.len() - 1
            }
        };
        Ok((Feed::Source(index), slot))
    }

    /// An expression of a relation's own clause, over the slots, of which its own is the last.
    fn own(&self, value: &Option<ast::Expr>, slots: &[Slot]) -> Result<Option<Expr>, Error> {
        let Some(value) = value else {
            return Ok(None);
        };
        let last = slots.len() - 1;
        let mut compiled = Scope::rows(self.text, &slots[last..]).compile(value)?;
        compiled.shift(last as isize);
        Ok(Some(compiled))
    }

    fn relation_partition(&self, relation: &Relation, slots: &[Slot]) -> Result<Option<Expr>, Error> {
        self.own(&relation.partition, slots)
    }

    fn sub_stream(&self, relation: &Relation, slots: &[Slot]) -> Result<Vec<Expr>, Error> {
        Ok(self.own(&relation.over, slots)?.into_iter().collect())
    }

    fn join(&self, outer: bool, on: &ast::Expr, slots: &[Slot], feed: &Feed) -> Result<Stage, Error> {
        let right = slots.len() - 1;
        let conditions = match &on.kind {
            Kind::And(terms) => terms.iter().collect(),
            _ => vec![on],
        };
        let mut bound = None;
        let mut keys = Vec::new();
        let mut rest = Vec::new();
        for condition in conditions {
            if bound.is_none()
                && let Some(found) = self.time_bound(condition, slots)?
            {
                bound = Some(found);
                continue;
            }
            let mut compiled = Scope::rows(self.text, slots).compile(condition)?;
            if let Expr::Binary(Binary::Equal, one, other) = &mut compiled {
                let of_right = |value: &mut Expr| {
                    let mut found = Vec::new();
                    value.slots(&mut found);
                    let right_only = !found.is_empty() && found.iter().all(|slot| *slot == right);
                    let left_only = !found.is_empty() && found.iter().all(|slot| *slot != right);
                    (left_only, right_only)
                };
                let pair = match (of_right(one), of_right(other)) {
                    ((true, _), (_, true)) => Some((one, other)),
                    ((_, true), (true, _)) => Some((other, one)),
                    _ => None,
                };
                if let Some((left, of_right)) = pair {
                    // Keys of the right row are evaluated over it alone.
                    of_right.shift(-(right as isize));
                    keys.push(((**left).clone(), (**of_right).clone()));
                    continue;
                }
            }
            rest.push(compiled);
        }
        let rest = match rest.len() {
            0 => None,
            1 => rest.pop(),
            _ => Some(Expr::And(rest)),
        };
        if let Feed::Reference(input) = feed {
            if bound.is_some() {
                let message = "a join with reference data has no bound of time";
                return Err(self.error(on.at, message));
            }
            return Ok(Stage::Reference { outer, input: *input, keys, rest });
        }
        let Some((unit, low, high, slot)) = bound else {
            let message = "a join of streams needs `DATEDIFF(unit, a, b) BETWEEN x AND y` in ON";
            return Err(self.error(on.at, message));
        };
        Ok(Stage::Stream(StreamJoin { outer, unit, low, high, slot, keys, rest }))
    }

    /// `DATEDIFF(unit, a, b) BETWEEN x AND y` of the new row and one of those before it.
    fn time_bound(&self, condition: &ast::Expr, slots: &[Slot]) -> Result<Option<(Unit, i64, i64, usize)>, Error> {
        let Kind::Between(three, false) = &condition.kind else {
            return Ok(None);
        };
        let [value, low, high] = &**three;
        let Kind::Call(call) = &value.kind else {
            return Ok(None);
        };
        if !call.name.eq_ignore_ascii_case("datediff") || call.args.len() != 3 {
            return Ok(None);
        }
        let alias = |arg: &ast::Expr| match &arg.kind {
            Kind::Path(path) if path.len() == 1 => self.slot(slots, &path[0]).ok(),
            _ => None,
        };
        let (Some(from), Some(to)) = (alias(&call.args[1]), alias(&call.args[2])) else {
            return Ok(None);
        };
        let right = slots.len() - 1;
        if (from == right) == (to == right) {
            return Ok(None);
        }
        let unit = match &call.args[0].kind {
            Kind::Path(path) if path.len() == 1 => Unit::parse(&path[0].text),
            _ => None,
        };
        let Some((unit, length)) = unit.and_then(|unit| Some((unit, unit.fixed()?))) else {
            let message = "the bound of a join is given in days, hours, minutes, seconds or less";
            return Err(self.error(call.args[0].at, message));
        };
        let whole = |bound: &ast::Expr| match bound.kind {
            Kind::Whole(number) => Ok(number),
            _ => Err(self.error(bound.at, "the bound of a join is a whole number")),
        };
        let (mut low_bound, mut high_bound) = (whole(low)?, whole(high)?);
        let longest = JOIN_MAX / length;
        if low_bound > high_bound {
            return Err(self.error(low.at, "the bound of a join is empty"));
        }
        if low_bound < -longest || high_bound > longest {
            return Err(self.error(low.at, "the bound of a join is longer than 7 days"));
        }
        if from == right {
            (low_bound, high_bound) = (-high_bound, -low_bound);
        }
        let slot = if from == right { to } else { from };
        Ok(Some((unit, low_bound, high_bound, slot)))
    }

    fn error(&self, at: At, message: impl Into<String>) -> Error {
        lex::error(self.text, at, message)
    }
}

fn item_at(item: &ast::Item) -> At {
    match item {
        ast::Item::All(at) => *at,
        ast::Item::AllOf(name) => name.at,
        ast::Item::One(value, _) => value.at,
    }
}

/// What a column is called that was given no name.
fn default_name(value: &ast::Expr, index: usize) -> String {
    match &value.kind {
        Kind::Path(path) => path.last().map_or_else(String::new, |name| name.text.clone()),
        Kind::Member(_, name) => name.text.clone(),
        Kind::Call(call) => {
            let last = call.name.rsplit('.').next();
            last.unwrap_or_default().to_owned()
        }
        _ => format!("Column{}", index + 1),
    }
}
