//! Graph operators.

use super::{Parser, Result};
use crate::ast::{Direction, GraphMatch, GraphTable, MakeGraph, Name, PatternPart};

impl Parser<'_> {
    pub(super) fn make_graph(&mut self) -> Result<MakeGraph> {
        let mut properties = self.properties(&["kind"])?;
        let source = self.name()?;
        self.expect_signs(&["-", "-", ">"])?;
        let target = self.name()?;
        let mut nodes = Vec::new();
        if self.eat_word("with") {
            nodes = self.list(|parser| {
                let table = parser.source()?;
                parser.expect_word("on")?;
                Ok((table, parser.name()?))
            })?;
        }
        let mut node_id = None;
        if self.is_word("with_node_id") && self.is_sign_at(1, "=") {
            self.at += 2;
            node_id = Some(self.name()?);
        }
        let mut partitioned_by = None;
        if self.operator_is("partitioned-by") {
            self.at += 3;
            let column = self.name()?;
            self.expect_sign("(")?;
            let body = self.sub_pipe()?;
            self.expect_sign(")")?;
            partitioned_by = Some((column, Box::new(body)));
        }
        properties.extend(self.properties(&[])?);
        Ok(MakeGraph { source, target, nodes, node_id, partitioned_by, properties })
    }

    fn operator_is(&self, name: &str) -> bool {
        let mut words = name.split('-');
        self.word(0) == words.next() && self.is_sign_at(1, "-") && self.word(2) == words.next()
    }

    /// Signs without anything between them.
    fn expect_signs(&mut self, signs: &[&str]) -> Result<()> {
        for sign in signs {
            self.expect_sign(sign)?;
        }
        Ok(())
    }

    pub(super) fn graph_match(&mut self, known: &[&str]) -> Result<GraphMatch> {
        let properties = self.properties(known)?;
        let patterns = self.list(Self::pattern)?;
        let filter = if self.eat_word("where") { Some(self.expr()?) } else { None };
        let values = if self.eat_word("project") { Some(self.list(Self::named)?) } else { None };
        Ok(GraphMatch { patterns, filter, values, properties })
    }

    /// `(a)-[e]->(b)<--(c)`
    fn pattern(&mut self) -> Result<Vec<PatternPart>> {
        let mut parts = vec![self.node()?];
        while self.is_sign("-") || self.is_sign("<") {
            parts.push(self.edge()?);
            parts.push(self.node()?);
        }
        Ok(parts)
    }

    fn node(&mut self) -> Result<PatternPart> {
        self.expect_sign("(")?;
        let name = self.try_name()?;
        self.expect_sign(")")?;
        Ok(PatternPart::Node(name))
    }

    fn edge(&mut self) -> Result<PatternPart> {
        let left = self.eat_sign("<");
        self.expect_sign("-")?;
        let (mut name, mut hops): (Option<Name>, _) = (None, None);
        if self.eat_sign("[") {
            name = self.try_name()?;
            if self.eat_sign("*") {
                let least = self.postfix()?;
                self.expect_sign("..")?;
                hops = Some((least, self.postfix()?));
            }
            self.expect_sign("]")?;
        }
        self.expect_sign("-")?;
        let right = !left && self.eat_sign(">");
        let direction = match (left, right) {
            (true, _) => Direction::Left,
            (_, true) => Direction::Right,
            _ => Direction::Either,
        };
        Ok(PatternPart::Edge { name, direction, hops })
    }

    /// `nodes as N with_node_id=id`
    pub(super) fn graph_table(&mut self) -> Result<GraphTable> {
        let edges = if self.eat_word("edges") {
            true
        } else {
            self.expect_word("nodes")?;
            false
        };
        let name = if self.eat_word("as") { Some(self.name()?) } else { None };
        let known: &[&str] = if edges { &["with_source_id", "with_target_id"] } else { &["with_node_id"] };
        Ok(GraphTable { edges, name, properties: self.properties(known)? })
    }
}
