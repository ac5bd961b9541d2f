//! `join` on equality, by a table of the keys of the right side.

use gantry_kql::bound::{Expr, JoinKind, Rel, Schema};

use super::{Flow, Sink};
use crate::chunk::{CHUNK_ROWS, Chunk, gather_rows};
use crate::column::Place;
use crate::context::Context;
use crate::engine::{Frame, Session};
use crate::error::Result;
use crate::expression::{Datum, Outer, Program, compile_all};
use crate::groups::Groups;

impl Session<'_> {
    pub(super) fn join(
        &self,
        kind: JoinKind,
        left: &Rel,
        right: &Rel,
        on: &[(Expr, Expr)],
        frame: &Frame,
        sink: Sink,
    ) -> Result<Flow> {
        let probe = self.probe(kind, right, on, frame)?;
        if Probe::is_by_row(kind) {
            return self.run(left, frame, &mut |chunk| probe.each(&chunk, self.context(), sink));
        }
        let Probe { lefts, keys, rows_of, rights: right_chunks, unmatched, .. } = &probe;
        let mut seen = vec![false; keys.len()];
        let mut unique = vec![false; keys.len()];
        let keeps_left = kind == JoinKind::FullOuter;
        let flow = self.run(left, frame, &mut |chunk| {
            let values = key_values(lefts, &chunk, self.context())?;
            let found = keys.find_rows(&values, chunk.rows);
            let mut pairs: Vec<(u32, Place)> = Vec::new();
            for (row, group) in found.into_iter().enumerate() {
                let row = row as u32;
                let matches = group.and_then(|group| rows_of.get(group as usize)).filter(|rows| !rows.is_empty());
                match (kind, matches) {
                    (JoinKind::RightSemi | JoinKind::RightAnti, matches) => {
                        if let (Some(group), Some(_)) = (group, matches) {
                            seen[group as usize] = true;
                        }
                    }
                    (kind, Some(rows)) => {
                        let group = group.unwrap_or_default() as usize;
                        seen[group] = true;
                        if kind == JoinKind::InnerUnique && std::mem::replace(&mut unique[group], true) {
                            continue;
                        }
                        pairs.extend(rows.iter().map(|place| (row, *place)));
                    }
                    (_, None) => {
                        if keeps_left {
                            pairs.push((row, Place::NOWHERE));
                        }
                    }
                }
                if pairs.len() >= CHUNK_ROWS {
                    self.context().check()?;
                    let pairs = std::mem::take(&mut pairs);
                    if sink(paired(&right.schema, kind, &chunk, right_chunks, &pairs))? == Flow::Enough {
                        return Ok(Flow::Enough);
                    }
                }
            }
            if pairs.is_empty() {
                return Ok(Flow::More);
            }
            sink(paired(&right.schema, kind, &chunk, right_chunks, &pairs))
        })?;
        if flow == Flow::Enough {
            return Ok(Flow::Enough);
        }
        let wants = match kind {
            JoinKind::RightOuter | JoinKind::FullOuter | JoinKind::RightAnti => Some(false),
            JoinKind::RightSemi => Some(true),
            _ => None,
        };
        let Some(wants) = wants else { return Ok(Flow::More) };
        let mut places: Vec<Place> = rows_of
            .iter()
            .enumerate()
            .filter(|(group, _)| seen[*group] == wants)
            .flat_map(|(_, rows)| rows.iter().copied())
            .collect();
        if !wants {
            places.extend_from_slice(unmatched);
        }
        places.sort_unstable_by_key(|place| (place.part, place.row));
        for part in places.chunks(CHUNK_ROWS) {
            let rights = gather_rows(&right.schema, right_chunks, part);
            let chunk = if matches!(kind, JoinKind::RightSemi | JoinKind::RightAnti) {
                rights
            } else {
                let absent = left
                    .schema
                    .columns
                    .iter()
                    .map(|column| std::sync::Arc::new(crate::column::Column::absent(column.ty, part.len())));
                Chunk::new(absent.chain(rights.columns).collect(), part.len())
            };
            if sink(chunk)? == Flow::Enough {
                return Ok(Flow::Enough);
            }
        }
        Ok(Flow::More)
    }

    /// The right side of a join, by its keys.
    pub(super) fn probe<'r>(
        &self,
        kind: JoinKind,
        right: &'r Rel,
        on: &[(Expr, Expr)],
        frame: &Frame,
    ) -> Result<Probe<'r>> {
        let (lefts, rights): (Vec<Expr>, Vec<Expr>) = on.iter().cloned().unzip();
        let (lefts, keys_of) = (compile_all(&lefts, self)?, compile_all(&rights, self)?);
        let rights = self.collect(right, frame, "join")?;
        let mut keys = Groups::new(lefts.iter().map(Program::ty).collect());
        let mut rows_of: Vec<Vec<Place>> = Vec::new();
        let mut unmatched: Vec<Place> = Vec::new();
        for (part, chunk) in rights.iter().enumerate() {
            let values = key_values(&keys_of, chunk, self.context())?;
            for (row, group) in keys.of_rows(&values, chunk.rows).into_iter().enumerate() {
                let place = Place { part: part as u32, row: row as u32 };
                if keys.has_null(group) {
                    unmatched.push(place);
                    continue;
                }
                let group = group as usize;
                if rows_of.len() <= group {
                    rows_of.resize(group + 1, Vec::new());
                }
                rows_of[group].push(place);
            }
        }
        self.context().hold("join", keys.size() + 8 * rights.iter().map(|chunk| chunk.rows).sum::<usize>())?;
        Ok(Probe { kind, lefts, keys, rows_of, rights, unmatched, schema: &right.schema })
    }
}

/// The right side of a join.
pub(super) struct Probe<'r> {
    kind: JoinKind,
    /// The keys of the left side.
    lefts: Vec<Program>,
    keys: Groups,
    /// The rows of each key.
    rows_of: Vec<Vec<Place>>,
    rights: Vec<Chunk>,
    /// Rows with a null in their key.
    unmatched: Vec<Place>,
    schema: &'r Schema,
}

impl Probe<'_> {
    /// Whether what a kind of join answers for a row of the left side depends on that row alone.
    pub(super) fn is_by_row(kind: JoinKind) -> bool {
        matches!(kind, JoinKind::Inner | JoinKind::LeftOuter | JoinKind::LeftSemi | JoinKind::LeftAnti)
    }

    /// Hands on what becomes of rows of the left side, in pieces of the usual size. For kinds that go
    /// [by row](Self::is_by_row).
    pub(super) fn each(&self, chunk: &Chunk, context: &Context, sink: Sink) -> Result<Flow> {
        let values = key_values(&self.lefts, chunk, context)?;
        let mut pairs: Vec<(u32, Place)> = Vec::new();
        for (row, group) in self.keys.find_rows(&values, chunk.rows).into_iter().enumerate() {
            let matches = group.and_then(|group| self.rows_of.get(group as usize)).filter(|rows| !rows.is_empty());
            match (self.kind, matches) {
                (JoinKind::LeftSemi, Some(_)) | (JoinKind::LeftAnti | JoinKind::LeftOuter, None) => {
                    pairs.push((row as u32, Place::NOWHERE));
                }
                (JoinKind::LeftSemi | JoinKind::LeftAnti, _) | (_, None) => {}
                (_, Some(rows)) => pairs.extend(rows.iter().map(|place| (row as u32, *place))),
            }
            if pairs.len() >= CHUNK_ROWS {
                context.check()?;
                let pairs = std::mem::take(&mut pairs);
                if sink(paired(self.schema, self.kind, chunk, &self.rights, &pairs))? == Flow::Enough {
                    return Ok(Flow::Enough);
                }
            }
        }
        if pairs.is_empty() {
            return Ok(Flow::More);
        }
        sink(paired(self.schema, self.kind, chunk, &self.rights, &pairs))
    }
}

fn key_values(programs: &[Program], chunk: &Chunk, context: &Context) -> Result<Vec<Datum>> {
    programs.iter().map(|program| program.eval(chunk, context)).collect()
}

/// Pairs of rows: of both sides, or of the left side alone.
fn paired(right: &Schema, kind: JoinKind, chunk: &Chunk, rights: &[Chunk], pairs: &[(u32, Place)]) -> Chunk {
    let rows: Vec<u32> = pairs.iter().map(|(row, _)| *row).collect();
    let mut joined = chunk.take(&rows);
    if !matches!(kind, JoinKind::LeftSemi | JoinKind::LeftAnti) {
        let places: Vec<Place> = pairs.iter().map(|(_, place)| *place).collect();
        joined.columns.extend(gather_rows(right, rights, &places).columns);
    }
    joined
}
