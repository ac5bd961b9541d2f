//! Graphs: `graph-match`, `graph-shortest-paths`, `graph-to-table`.
//!
//! A graph is held in memory: nodes and edges with their columns, and the edges of each node. A match assigns a node or
//! an edge (or, to an edge of variable length, a path of edges) to every element of the pattern; elements are
//! assigned one pattern after the other, backtracking. What a query says of elements is worked out over columns that
//! hold the properties of one match.

use std::collections::HashMap;
use std::sync::Arc;

use gantry_kql::bound::{
    Direction, ElementKind, Expr, ExprKind, Graph, GraphId, GraphKind, GraphMatch, Quantifier, Schema,
};
use gantry_kql::value::{Bag, Dynamic, Type, Value};

use super::basic::{in_pieces, whole};
use super::{Flow, Sink};
use crate::chunk::Chunk;
use crate::column::{Builder, Column};
use crate::context::Context;
use crate::engine::{Frame, Session};
use crate::error::{Error, Result};
use crate::expression::{Outer, Program};

/// Matches that a query may make.
const MATCHES_MAX: u64 = 1 << 20;
/// Steps that looking for them may take between two looks at the clock.
const STEPS_BETWEEN_CHECKS: u64 = 1 << 14;

/// A graph in memory.
struct Loaded {
    nodes: Chunk,
    edges: Chunk,
    node_ids: Vec<Value>,
    /// Source and target of each edge.
    ends: Vec<(u32, u32)>,
    out: Vec<Vec<u32>>,
    into: Vec<Vec<u32>>,
}

/// What an element is in a match.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Node(u32),
    /// Edges in the order of the pattern, and the nodes between them.
    Path(Vec<u32>, Vec<u32>),
}

impl Session<'_> {
    fn load(&self, graph: &Graph, frame: &Frame) -> Result<Loaded> {
        match &graph.kind {
            GraphKind::Make { edges, source, target, nodes, node_id, .. } => {
                let edge_rows = whole(&edges.schema, self.collect(edges, frame, "make-graph")?);
                let mut ids: HashMap<String, u32> = HashMap::new();
                let mut node_ids: Vec<Value> = Vec::new();
                let mut columns: Vec<Builder> =
                    graph.nodes.columns.iter().map(|column| Builder::new(column.ty, edge_rows.rows)).collect();
                for (rel, id) in nodes {
                    let rows = whole(&rel.schema, self.collect(rel, frame, "make-graph")?);
                    for row in 0..rows.rows {
                        let key = rows.columns[*id].value(row);
                        let text = format!("{key:?}");
                        if ids.contains_key(&text) {
                            continue;
                        }
                        ids.insert(text, node_ids.len() as u32);
                        for (at, (builder, column)) in columns.iter_mut().zip(&graph.nodes.columns).enumerate() {
                            if Some(at) == *node_id {
                                builder.push(key.clone());
                                continue;
                            }
                            match rel.schema.position(&column.name) {
                                Some(place) => builder.push_cell(rows.columns[place].cell(row)),
                                None => builder.push_absent(),
                            }
                        }
                        node_ids.push(key);
                    }
                }
                let mut number = |value: Value| -> u32 {
                    let text = format!("{value:?}");
                    if let Some(known) = ids.get(&text) {
                        return *known;
                    }
                    let at = node_ids.len() as u32;
                    ids.insert(text, at);
                    for (column, builder) in columns.iter_mut().enumerate() {
                        if Some(column) == *node_id { builder.push(value.clone()) } else { builder.push_absent() }
                    }
                    node_ids.push(value);
                    at
                };
                let ends: Vec<(u32, u32)> = (0..edge_rows.rows)
                    .map(|row| {
                        (number(edge_rows.columns[*source].value(row)), number(edge_rows.columns[*target].value(row)))
                    })
                    .collect();
                let rows = node_ids.len();
                let nodes = Chunk::of(columns.into_iter().map(Builder::finish).collect(), rows);
                Ok(Loaded::new(nodes, edge_rows, node_ids, ends))
            }
            GraphKind::Where { graph, edges, predicate } => {
                let loaded = self.load(graph, frame)?;
                let over = if *edges { &loaded.edges } else { &loaded.nodes };
                let program = Program::compile(predicate, self)?;
                let kept = program.eval(over, self.context())?.true_rows(over.rows);
                Ok(if *edges { loaded.with_edges(&kept) } else { loaded.with_nodes(&kept) })
            }
            GraphKind::MarkComponents { graph: inner, strong } => {
                let mut loaded = self.load(inner, frame)?;
                let marks = loaded.components(*strong);
                loaded.nodes.columns.push(Arc::new(Column::from(marks)));
                debug_assert_eq!(loaded.nodes.columns.len(), graph.nodes.columns.len());
                Ok(loaded)
            }
            GraphKind::Stored { name, .. } => Err(Error::NotImplemented(format!("graph(\"{name}\")"))),
        }
    }

    pub(super) fn graph_to_table(
        &self,
        schema: &Schema,
        graph: &Graph,
        edges: bool,
        ids: &[GraphId],
        frame: &Frame,
        sink: Sink,
    ) -> Result<Flow> {
        let loaded = self.load(graph, frame)?;
        let rows = if edges { &loaded.edges } else { &loaded.nodes };
        let number = |id: &GraphId| -> Vec<i64> {
            match id {
                GraphId::Node => (0..rows.rows as i64).collect(),
                GraphId::Source => loaded.ends.iter().map(|end| i64::from(end.0)).collect(),
                GraphId::Target => loaded.ends.iter().map(|end| i64::from(end.1)).collect(),
            }
        };
        let mut columns: Vec<crate::column::ColumnRef> =
            ids.iter().map(|id| Arc::new(Column::from(number(id)))).collect();
        columns.extend(rows.columns.iter().cloned());
        debug_assert_eq!(columns.len(), schema.columns.len());
        in_pieces(&Chunk::new(columns, rows.rows), sink)
    }

    pub(super) fn graph_match(&self, schema: &Schema, search: &GraphMatch, frame: &Frame, sink: Sink) -> Result<Flow> {
        let loaded = self.load(&search.graph, frame)?;
        let teller = Teller::new(self, search, &loaded)?;
        let found = matches(&teller)?;
        teller.rows(schema, &found, sink)
    }

    pub(super) fn shortest_paths(
        &self,
        schema: &Schema,
        search: &GraphMatch,
        all: bool,
        frame: &Frame,
        sink: Sink,
    ) -> Result<Flow> {
        let loaded = self.load(&search.graph, frame)?;
        let teller = Teller::new(self, search, &loaded)?;
        let found = matches(&teller)?;
        // Of every pair of ends the matches with the shortest path remain.
        let path_of = |parts: &[Option<Part>]| {
            parts
                .iter()
                .flatten()
                .map(|part| match part {
                    Part::Path(edges, _) => edges.len(),
                    Part::Node(_) => 0,
                })
                .sum::<usize>()
        };
        let ends_of = |parts: &[Option<Part>]| {
            parts
                .iter()
                .flatten()
                .filter_map(|part| match part {
                    Part::Node(node) => Some(*node),
                    Part::Path(..) => None,
                })
                .collect::<Vec<u32>>()
        };
        let mut best: HashMap<Vec<u32>, usize> = HashMap::new();
        for parts in &found {
            let shortest = best.entry(ends_of(parts)).or_insert(usize::MAX);
            *shortest = (*shortest).min(path_of(parts));
        }
        let mut taken: HashMap<Vec<u32>, bool> = HashMap::new();
        let found: Vec<Vec<Option<Part>>> = found
            .into_iter()
            .filter(|parts| {
                let ends = ends_of(parts);
                path_of(parts) == best[&ends] && (all || !std::mem::replace(taken.entry(ends).or_insert(false), true))
            })
            .collect();
        teller.rows(schema, &found, sink)
    }
}

impl Loaded {
    fn new(nodes: Chunk, edges: Chunk, node_ids: Vec<Value>, ends: Vec<(u32, u32)>) -> Loaded {
        let (mut out, mut into) = (vec![Vec::new(); node_ids.len()], vec![Vec::new(); node_ids.len()]);
        for (edge, (source, target)) in ends.iter().enumerate() {
            out[*source as usize].push(edge as u32);
            into[*target as usize].push(edge as u32);
        }
        Loaded { nodes, edges, node_ids, ends, out, into }
    }

    fn with_edges(self, kept: &[u32]) -> Loaded {
        let ends = kept.iter().map(|edge| self.ends[*edge as usize]).collect();
        Loaded::new(self.nodes, self.edges.take(kept), self.node_ids, ends)
    }

    /// Edges of nodes that go, go too.
    fn with_nodes(self, kept: &[u32]) -> Loaded {
        let new: HashMap<u32, u32> = kept.iter().enumerate().map(|(at, node)| (*node, at as u32)).collect();
        let edges: Vec<u32> = (0..self.ends.len() as u32)
            .filter(|edge| {
                let (source, target) = self.ends[*edge as usize];
                new.contains_key(&source) && new.contains_key(&target)
            })
            .collect();
        let ends = edges
            .iter()
            .map(|edge| {
                let (source, target) = self.ends[*edge as usize];
                (new[&source], new[&target])
            })
            .collect();
        let ids = kept.iter().map(|node| self.node_ids[*node as usize].clone()).collect();
        Loaded::new(self.nodes.take(kept), self.edges.take(&edges), ids, ends)
    }

    /// The component of each node, numbered in the order of their first nodes.
    fn components(&self, strong: bool) -> Vec<i64> {
        let nodes = self.node_ids.len();
        let reach = |from: usize, forward: bool| {
            let (mut seen, mut open) = (vec![false; nodes], vec![from]);
            seen[from] = true;
            while let Some(node) = open.pop() {
                let next = if forward { &self.out[node] } else { &self.into[node] };
                for edge in next {
                    let (source, target) = self.ends[*edge as usize];
                    let other = if forward { target } else { source } as usize;
                    if !std::mem::replace(&mut seen[other], true) {
                        open.push(other);
                    }
                }
            }
            seen
        };
        let (mut marks, mut next) = (vec![-1_i64; nodes], 0);
        for node in 0..nodes {
            if marks[node] >= 0 {
                continue;
            }
            if strong {
                let (forward, back) = (reach(node, true), reach(node, false));
                (0..nodes).filter(|other| forward[*other] && back[*other]).for_each(|other| marks[other] = next);
            } else {
                let mut open = vec![node];
                marks[node] = next;
                while let Some(at) = open.pop() {
                    for edge in self.out[at].iter().chain(&self.into[at]) {
                        let (source, target) = self.ends[*edge as usize];
                        for other in [source as usize, target as usize] {
                            if marks[other] < 0 {
                                marks[other] = next;
                                open.push(other);
                            }
                        }
                    }
                }
            }
            next += 1;
        }
        marks
    }
}

/// Every match of a pattern.
fn matches(teller: &Teller) -> Result<Vec<Vec<Option<Part>>>> {
    let mut finder = Finder {
        search: teller.search,
        loaded: teller.loaded,
        parts: vec![None; teller.search.elements.len()],
        teller,
        found: Vec::new(),
        steps: 0,
        context: teller.session.context(),
    };
    finder.pattern(0, 0)?;
    Ok(finder.found)
}

/// Looks for matches.
struct Finder<'a, 'b> {
    search: &'a GraphMatch,
    loaded: &'a Loaded,
    parts: Vec<Option<Part>>,
    teller: &'a Teller<'a, 'b>,
    found: Vec<Vec<Option<Part>>>,
    steps: u64,
    context: &'a Context,
}

impl Finder<'_, '_> {
    /// Goes on with the element at a place of a pattern.
    fn pattern(&mut self, pattern: usize, at: usize) -> Result<()> {
        self.steps += 1;
        if self.steps.is_multiple_of(STEPS_BETWEEN_CHECKS) {
            self.context.check()?;
        }
        let Some(elements) = self.search.patterns.get(pattern) else { return self.complete() };
        let Some(element) = elements.get(at).copied() else { return self.pattern(pattern + 1, 0) };
        match self.search.elements[element].kind {
            ElementKind::Node if at == 0 => {
                if self.parts[element].is_some() {
                    return self.pattern(pattern, at + 1);
                }
                for node in 0..self.loaded.node_ids.len() as u32 {
                    self.parts[element] = Some(Part::Node(node));
                    self.pattern(pattern, at + 1)?;
                }
                self.parts[element] = None;
                Ok(())
            }
            // A later node was assigned with the edge before it.
            ElementKind::Node => self.pattern(pattern, at + 1),
            ElementKind::Edge { direction, hops } => {
                let Some(Part::Node(from)) = self.parts[elements[at - 1]].clone() else { return Ok(()) };
                let to = elements[at + 1];
                if self.parts[element].is_some() {
                    return Ok(());
                }
                self.walk(
                    pattern,
                    at,
                    element,
                    to,
                    direction,
                    hops.unwrap_or((1, 1)),
                    from,
                    &mut Vec::new(),
                    &mut Vec::new(),
                )
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the state of one walk")]
    fn walk(
        &mut self,
        pattern: usize,
        at: usize,
        element: usize,
        to: usize,
        direction: Direction,
        (min, max): (u32, u32),
        node: u32,
        edges: &mut Vec<u32>,
        between: &mut Vec<u32>,
    ) -> Result<()> {
        self.steps += 1;
        if self.steps.is_multiple_of(STEPS_BETWEEN_CHECKS) {
            self.context.check()?;
        }
        if edges.len() as u32 >= min {
            let known = self.parts[to].clone();
            if (known.is_none() || known == Some(Part::Node(node)))
                && (known.is_none() && self.allows_node(node) || known.is_some())
            {
                let inner = if between.is_empty() { Vec::new() } else { between[..between.len() - 1].to_vec() };
                self.parts[to] = Some(Part::Node(node));
                self.parts[element] = Some(Part::Path(edges.clone(), inner));
                self.pattern(pattern, at + 1)?;
                self.parts[element] = None;
                self.parts[to] = known;
            }
        }
        if edges.len() as u32 >= max {
            return Ok(());
        }
        let (out, into) = (&self.loaded.out[node as usize], &self.loaded.into[node as usize]);
        let next: Vec<(u32, u32)> = match direction {
            Direction::Right => out.iter().map(|edge| (*edge, self.loaded.ends[*edge as usize].1)).collect(),
            Direction::Left => into.iter().map(|edge| (*edge, self.loaded.ends[*edge as usize].0)).collect(),
            Direction::Either => out
                .iter()
                .map(|edge| (*edge, self.loaded.ends[*edge as usize].1))
                .chain(into.iter().map(|edge| (*edge, self.loaded.ends[*edge as usize].0)))
                .collect(),
        };
        for (edge, other) in next {
            if !self.allows_edge(edge, edges) {
                continue;
            }
            let is_known_end = matches!(&self.parts[to], Some(Part::Node(end)) if *end == other);
            if self.search.cycles == "none" && !is_known_end && (between.contains(&other) || !self.allows_node(other)) {
                continue;
            }
            edges.push(edge);
            between.push(other);
            self.walk(pattern, at, element, to, direction, (min, max), other, edges, between)?;
            edges.pop();
            between.pop();
        }
        Ok(())
    }

    /// Unless all cycles are allowed, an edge is used once in a match.
    fn allows_edge(&self, edge: u32, walked: &[u32]) -> bool {
        if self.search.cycles == "all" {
            // A path of variable length still ends.
            return walked.iter().filter(|known| **known == edge).count() < 1;
        }
        let used = |part: &Part| matches!(part, Part::Path(edges, _) if edges.contains(&edge));
        !walked.contains(&edge) && !self.parts.iter().flatten().any(used)
    }

    /// Without cycles a node is used once.
    fn allows_node(&self, node: u32) -> bool {
        if self.search.cycles != "none" {
            return true;
        }
        !self.parts.iter().flatten().any(|part| match part {
            Part::Node(known) => *known == node,
            Part::Path(_, between) => between.contains(&node),
        })
    }

    fn complete(&mut self) -> Result<()> {
        if !self.teller.holds(&self.parts)? {
            return Ok(());
        }
        if self.found.len() as u64 >= MATCHES_MAX {
            return Err(Error::TooManyRows { operator: "graph-match", limit: MATCHES_MAX });
        }
        self.found.push(self.parts.clone());
        Ok(())
    }
}

/// Works out what a query says of a match.
struct Teller<'a, 'b> {
    session: &'a Session<'b>,
    loaded: &'a Loaded,
    search: &'a GraphMatch,
    /// The expressions over elements, and the column each stands in.
    places: Vec<Expr>,
    bodies: Vec<Option<Program>>,
    filter: Option<Program>,
    values: Vec<Program>,
}

struct Places<'a, 'b> {
    session: &'a Session<'b>,
    places: &'a [Expr],
}

impl Outer for Places<'_, '_> {
    fn query(&self) -> &dyn Outer {
        self.session
    }

    fn place(&self, expr: &Expr) -> Option<usize> {
        self.places.iter().position(|place| place.kind == expr.kind)
    }
}

impl<'a, 'b> Teller<'a, 'b> {
    fn new(session: &'a Session<'b>, search: &'a GraphMatch, loaded: &'a Loaded) -> Result<Teller<'a, 'b>> {
        fn find(expr: &Expr, places: &mut Vec<Expr>) {
            match &expr.kind {
                ExprKind::Property { .. } | ExprKind::Element(_) | ExprKind::Over { .. } | ExprKind::Graph { .. } => {
                    if !places.iter().any(|place| place.kind == expr.kind) {
                        places.push(expr.clone());
                    }
                }
                _ => expr.for_each_child(&mut |child| find(child, places)),
            }
        }
        let mut places = Vec::new();
        search.filter.iter().chain(&search.values).for_each(|expr| find(expr, &mut places));
        let bodies = places
            .iter()
            .map(|place| match &place.kind {
                ExprKind::Over { body, .. } => Program::compile(body, session).map(Some),
                _ => Ok(None),
            })
            .collect::<Result<Vec<_>>>()?;
        let outer = Places { session, places: &places };
        let filter = search.filter.as_ref().map(|filter| Program::compile(filter, &outer)).transpose()?;
        let values = search.values.iter().map(|value| Program::compile(value, &outer)).collect::<Result<Vec<_>>>()?;
        Ok(Teller { session, loaded, search, places, bodies, filter, values })
    }

    fn holds(&self, parts: &[Option<Part>]) -> Result<bool> {
        let Some(filter) = &self.filter else { return Ok(true) };
        let chunk = self.chunk(std::slice::from_ref(&parts.to_vec()))?;
        Ok(filter.eval(&chunk, self.session.context())?.cell(0).bool() == Some(true))
    }

    fn rows(&self, schema: &Schema, found: &[Vec<Option<Part>>], sink: Sink) -> Result<Flow> {
        for part in found.chunks(crate::chunk::CHUNK_ROWS) {
            let chunk = self.chunk(part)?;
            let made = super::basic::project_chunk(self.session.context(), schema, &self.values, &chunk)?;
            if sink(made)? == Flow::Enough {
                return Ok(Flow::Enough);
            }
        }
        Ok(Flow::More)
    }

    /// A column for each expression over elements, a row for each match.
    fn chunk(&self, matches: &[Vec<Option<Part>>]) -> Result<Chunk> {
        let mut columns = Vec::with_capacity(self.places.len());
        for (place, body) in self.places.iter().zip(&self.bodies) {
            let mut builder = Builder::new(place.ty, matches.len());
            for parts in matches {
                builder.push(self.tell(place, body.as_ref(), parts)?);
            }
            columns.push(builder.finish());
        }
        Ok(Chunk::of(columns, matches.len()))
    }

    fn tell(&self, place: &Expr, body: Option<&Program>, parts: &[Option<Part>]) -> Result<Value> {
        let loaded = self.loaded;
        let one_edge =
            |element: usize| matches!(self.search.elements[element].kind, ElementKind::Edge { hops: None, .. });
        Ok(match &place.kind {
            ExprKind::Property { element, column } => match &parts[*element] {
                Some(Part::Node(node)) => loaded.nodes.columns[*column].value(*node as usize),
                Some(Part::Path(edges, _)) if one_edge(*element) => {
                    loaded.edges.columns[*column].value(edges[0] as usize)
                }
                Some(Part::Path(edges, _)) => Value::Dynamic(Dynamic::Array(
                    edges.iter().map(|edge| loaded.edges.columns[*column].cell(*edge as usize).to_dynamic()).collect(),
                )),
                None => Value::Null,
            },
            ExprKind::Element(element) => match &parts[*element] {
                Some(Part::Node(node)) => Value::Dynamic(bag(&loaded.nodes, &self.search.graph.nodes, *node)),
                Some(Part::Path(edges, _)) => {
                    let bags = edges.iter().map(|edge| bag(&loaded.edges, &self.search.graph.edges, *edge));
                    if one_edge(*element) {
                        Value::Dynamic(bags.collect::<Vec<_>>().remove(0))
                    } else {
                        Value::Dynamic(Dynamic::Array(bags.collect()))
                    }
                }
                None => Value::Null,
            },
            ExprKind::Over { quantifier, element, inner_nodes, .. } => {
                let Some(Part::Path(edges, between)) = &parts[*element] else { return Ok(Value::Null) };
                let over = if *inner_nodes { loaded.nodes.take(between) } else { loaded.edges.take(edges) };
                let Some(body) = body else { return Ok(Value::Null) };
                let told = body.eval(&over, self.session.context())?;
                match quantifier {
                    Quantifier::All => Value::Bool((0..over.rows).all(|row| told.cell(row).bool() == Some(true))),
                    Quantifier::Any => Value::Bool((0..over.rows).any(|row| told.cell(row).bool() == Some(true))),
                    Quantifier::Map => {
                        Value::Dynamic(Dynamic::Array((0..over.rows).map(|row| told.cell(row).to_dynamic()).collect()))
                    }
                }
            }
            ExprKind::Graph { function, element } => {
                let node = match element.and_then(|element| parts[element].as_ref()) {
                    Some(Part::Node(node)) => *node as usize,
                    _ => return Err(Error::NotImplemented(format!("{}() here", function.name))),
                };
                match function.name {
                    "node_degree_in" => Value::Long(loaded.into[node].len() as i64),
                    "node_degree_out" => Value::Long(loaded.out[node].len() as i64),
                    "node_id" if place.ty == Type::Long => Value::Long(node as i64),
                    "node_id" => loaded.node_ids[node].clone(),
                    name => return Err(Error::NotImplemented(format!("{name}()"))),
                }
            }
            _ => Value::Null,
        })
    }
}

fn bag(rows: &Chunk, schema: &Schema, row: u32) -> Dynamic {
    let entries = schema
        .columns
        .iter()
        .zip(&rows.columns)
        .map(|(column, values)| (column.name.to_string(), values.cell(row as usize).to_dynamic()));
    Dynamic::Bag(Bag::from_entries(entries.collect()))
}
