//! Graphs and the patterns that are looked for in them.

use super::{Expr, Rel, Schema};
use std::sync::Arc;

/// A graph: nodes and edges with their columns.
#[derive(Debug, Clone, PartialEq)]
pub struct Graph {
    /// How it is made.
    pub kind: GraphKind,
    /// The columns of a node.
    pub nodes: Arc<Schema>,
    /// The columns of an edge.
    pub edges: Arc<Schema>,
}

/// How a graph is made.
#[derive(Debug, Clone, PartialEq)]
pub enum GraphKind {
    /// `make-graph source --> target`.
    Make {
        /// A row is an edge.
        edges: Arc<Rel>,
        /// The column with the id of the node it leaves.
        source: usize,
        /// The column with the id of the node it enters.
        target: usize,
        /// `with nodes on id`: tables of nodes, and which column is the id. The columns of
        /// `Graph::nodes` are theirs, united by name. Nodes that only edges name exist too,
        /// with absent cells.
        nodes: Vec<(Arc<Rel>, usize)>,
        /// `with_node_id=name`: a column of `Graph::nodes` that holds the id.
        node_id: Option<usize>,
    },
    /// A stored graph.
    Stored {
        /// The database.
        database: String,
        /// Its name.
        name: String,
    },
    /// `graph-mark-components`: a column of nodes that says which component they are of.
    MarkComponents {
        /// The graph.
        graph: Arc<Graph>,
        /// `kind=strong`, else weak.
        strong: bool,
    },
    /// `graph-where-nodes`/`graph-where-edges`: those whose predicate is true.
    Where {
        /// The graph.
        graph: Arc<Graph>,
        /// Over edges, else over nodes.
        edges: bool,
        /// A bool; columns are those of the node or edge.
        predicate: Expr,
    },
}

/// An id in the result of `graph-to-table`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GraphId {
    /// Of the node.
    Node,
    /// Of the node the edge leaves.
    Source,
    /// Of the node the edge enters.
    Target,
}

/// `graph-match` and `graph-shortest-paths`.
#[derive(Debug, Clone, PartialEq)]
pub struct GraphMatch {
    /// The graph.
    pub graph: Arc<Graph>,
    /// Which cycles may be matched: `all`, `none` or `unique_edges` (the default).
    pub cycles: String,
    /// Named and unnamed nodes and edges, in the order they first appear; the same name twice is
    /// one element.
    pub elements: Vec<Element>,
    /// The patterns: elements by turns node and edge; all must match.
    pub patterns: Vec<Vec<usize>>,
    /// A bool over elements.
    pub filter: Option<Expr>,
    /// A value for each column of the schema, over elements.
    pub values: Vec<Expr>,
}

/// One element of a graph pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    /// Its name, empty for one without.
    pub name: String,
    /// What it is.
    pub kind: ElementKind,
}

/// What an element of a graph pattern is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ElementKind {
    /// `(n)`.
    Node,
    /// `-[e]->`, `<-[e]-` or `-[e]-`; a range of hops makes it a path.
    Edge {
        /// Which way.
        direction: Direction,
        /// `*min..max`.
        hops: Option<(u32, u32)>,
    },
}

/// The direction of an edge, read from left to right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// `-->`.
    Right,
    /// `<--`.
    Left,
    /// `--`.
    Either,
}
