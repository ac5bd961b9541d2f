//! Where a query begins, and in which order the pattern is walked from there.

use serde_json::Value;

use super::ast::{Comparison, Expr, Operand, Query, Reference, Slot};

/// What is known of the twins, or relationships, a query begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Roots {
    /// Twins of these ids, in order.
    Ids(Vec<String>),
    /// Twins of a model; of it alone, or of those that extend it too.
    Model(String, bool),
    /// Every twin.
    Twins,
    /// Relationships that leave these twins.
    Leaving(Vec<String>),
    /// Relationships that come to these twins.
    Coming(Vec<String>),
    /// Every relationship.
    Relationships,
}

/// A walk through the pattern.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The twin of the pattern it begins with.
    pub(crate) first: usize,
    pub(crate) roots: Roots,
    /// Edges in the order in which they are walked, and whether from their right end.
    pub(crate) steps: Vec<(usize, bool)>,
    /// Conditions that can be looked at when the root is bound, and after each step.
    pub(crate) conditions: Vec<Vec<usize>>,
}

/// The texts that `$name` of a thing must be one of, if a condition says so.
fn texts(expr: &Expr, wanted: Slot, path: &[&str]) -> Option<Vec<String>> {
    let is_it = |reference: &Reference| reference.slot == wanted && reference.path == path;
    match expr {
        Expr::Compare(Comparison::Equal, Operand::Reference(reference), Operand::Literal(Value::String(text)))
        | Expr::Compare(Comparison::Equal, Operand::Literal(Value::String(text)), Operand::Reference(reference))
            if is_it(reference) =>
        {
            Some(vec![text.clone()])
        }
        Expr::In(Operand::Reference(reference), values) if is_it(reference) => {
            let texts = values.iter().filter_map(Value::as_str).map(str::to_owned);
            let mut texts: Vec<String> = texts.collect();
            texts.sort_unstable();
            texts.dedup();
            Some(texts)
        }
        _ => None,
    }
}

/// How a twin of the pattern can be found, and how much that says: less is better.
fn roots_of(query: &Query, node: usize) -> (u8, Roots) {
    let slot = Slot::Node(node);
    let conditions = || query.conditions.iter();
    if let Some(ids) = conditions().find_map(|expr| texts(expr, slot, &["$dtId"])) {
        return (0, Roots::Ids(ids));
    }
    let of_model = conditions().find_map(|expr| match expr {
        Expr::OfModel { slot: of, model, exact } if *of == slot => Some((model.clone(), *exact)),
        _ => None,
    });
    let by_text = || conditions().find_map(|expr| texts(expr, slot, &["$metadata", "$model"]));
    let of_model = of_model.or_else(|| match by_text()?.as_slice() {
        [one] => Some((one.clone(), true)),
        _ => None,
    });
    match of_model {
        Some((model, exact)) => (1, Roots::Model(model, exact)),
        None => (2, Roots::Twins),
    }
}

fn roots_of_relationships(query: &Query) -> Roots {
    let of = |name: &str| query.conditions.iter().find_map(|expr| texts(expr, Slot::Link(0), &[name]));
    match (of("$sourceId"), of("$targetId")) {
        (Some(sources), _) => Roots::Leaving(sources),
        (None, Some(targets)) => Roots::Coming(targets),
        (None, None) => Roots::Relationships,
    }
}

impl Plan {
    pub(crate) fn of(query: &Query) -> Self {
        if query.nodes.is_empty() {
            let conditions = vec![(0..query.conditions.len()).collect()];
            return Self { first: 0, roots: roots_of_relationships(query), steps: vec![], conditions };
        }
        let ranked = (0..query.nodes.len()).map(|node| (roots_of(query, node), node));
        let best = ranked.min_by_key(|((rank, _), node)| (*rank, *node));
        let (first, roots) = best.map_or((0, Roots::Twins), |((_, roots), node)| (node, roots));
        let mut bound = vec![false; query.nodes.len()];
        let mut links = vec![false; query.links.len()];
        let mut left: Vec<usize> = (0..query.edges.len()).collect();
        let mut steps = vec![];
        mark(&mut bound, first);
        let mut waiting: Vec<usize> = (0..query.conditions.len()).collect();
        let mut conditions = vec![ready(query, &mut waiting, &bound, &links)];
        // Patterns are connected, so each round finds an edge.
        while let Some((place, edge)) = left.iter().enumerate().find_map(|(place, number)| {
            let edge = query.edges.get(*number)?;
            (is(&bound, edge.left) || is(&bound, edge.right)).then_some((place, edge))
        }) {
            let from_right = !is(&bound, edge.left);
            steps.push((left.remove(place), from_right));
            mark(&mut bound, edge.left);
            mark(&mut bound, edge.right);
            edge.link.iter().for_each(|link| mark(&mut links, *link));
            conditions.push(ready(query, &mut waiting, &bound, &links));
        }
        Self { first, roots, steps, conditions }
    }
}

fn is(flags: &[bool], number: usize) -> bool {
    flags.get(number).copied().unwrap_or(false)
}

fn mark(flags: &mut [bool], number: usize) {
    if let Some(flag) = flags.get_mut(number) {
        *flag = true;
    }
}

/// Conditions of those that wait of which everything is bound.
fn ready(query: &Query, waiting: &mut Vec<usize>, nodes: &[bool], links: &[bool]) -> Vec<usize> {
    let is_bound = |slot: Slot| match slot {
        Slot::Node(number) => is(nodes, number),
        Slot::Link(number) => is(links, number),
    };
    let is_ready = |number: &usize| query.conditions.get(*number).is_some_and(|expr| all_slots(expr, &is_bound));
    let (now, later) = waiting.iter().copied().partition(|number| is_ready(number));
    *waiting = later;
    now
}

fn all_slots(expr: &Expr, fits: &impl Fn(Slot) -> bool) -> bool {
    let of = |operand: &Operand| match operand {
        Operand::Reference(reference) => fits(reference.slot),
        Operand::Literal(_) => true,
    };
    match expr {
        Expr::And(all) | Expr::Or(all) => all.iter().all(|one| all_slots(one, fits)),
        Expr::Not(inner) => all_slots(inner, fits),
        Expr::Compare(_, left, right) | Expr::Text(_, left, right) | Expr::ArrayContains(left, right) => {
            of(left) && of(right)
        }
        Expr::In(operand, _) | Expr::Check(_, operand) | Expr::Is(operand) => of(operand),
        Expr::OfModel { slot, .. } => fits(*slot),
    }
}
