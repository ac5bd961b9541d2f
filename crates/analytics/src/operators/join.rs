//! `join` on equality, by a table of the keys of the right side.

use gantry_kql::bound::{Expr, JoinKind, Rel, Schema};

use super::{Flow, Sink};
use crate::chunk::{CHUNK_ROWS, Chunk, gather_rows};
use crate::column::Place;
use crate::engine::{Frame, Session};
use crate::error::Result;
use crate::expression::{Datum, Outer, Program, compile_all};
use crate::groups::Groups;

impl Session<'_> {
    #[expect(clippy::too_many_arguments, reason = "the parts of the operator")]
    pub(super) fn join(
        &self,
        schema: &Schema,
        kind: JoinKind,
        left: &Rel,
        right: &Rel,
        on: &[(Expr, Expr)],
        frame: &Frame,
        sink: Sink,
    ) -> Result<Flow> {
        let (lefts, rights): (Vec<Expr>, Vec<Expr>) = on.iter().cloned().unzip();
        let (lefts, rights) = (compile_all(&lefts, self)?, compile_all(&rights, self)?);
        let right_chunks = self.collect(right, frame, "join")?;
        let mut keys = Groups::new(lefts.iter().map(Program::ty).collect());
        // The rows of the right side by key.
        let mut rows_of: Vec<Vec<Place>> = Vec::new();
        let mut unmatched: Vec<Place> = Vec::new();
        for (part, chunk) in right_chunks.iter().enumerate() {
            let values = self.key_values(&rights, chunk)?;
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
        self.context().hold("join", keys.size() + 8 * right_chunks.iter().map(|chunk| chunk.rows).sum::<usize>())?;
        let mut seen = vec![false; keys.len()];
        let mut unique = vec![false; keys.len()];
        let keeps_left = matches!(kind, JoinKind::LeftOuter | JoinKind::FullOuter);
        let flow = self.run(left, frame, &mut |chunk| {
            let values = self.key_values(&lefts, &chunk)?;
            let found = keys.find_rows(&values, chunk.rows);
            let mut pairs: Vec<(u32, Place)> = Vec::new();
            for (row, group) in found.into_iter().enumerate() {
                let row = row as u32;
                let matches = group.and_then(|group| rows_of.get(group as usize)).filter(|rows| !rows.is_empty());
                match (kind, matches) {
                    (JoinKind::LeftSemi, Some(_)) | (JoinKind::LeftAnti, None) => pairs.push((row, Place::NOWHERE)),
                    (JoinKind::LeftSemi | JoinKind::LeftAnti, _) => {}
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
                    if emit(schema, left, right, kind, &chunk, &right_chunks, &std::mem::take(&mut pairs), sink)?
                        == Flow::Enough
                    {
                        return Ok(Flow::Enough);
                    }
                }
            }
            if pairs.is_empty() {
                return Ok(Flow::More);
            }
            emit(schema, left, right, kind, &chunk, &right_chunks, &pairs, sink)
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
            places.append(&mut unmatched);
        }
        places.sort_unstable_by_key(|place| (place.part, place.row));
        for part in places.chunks(CHUNK_ROWS) {
            let rights = gather_rows(&right.schema, &right_chunks, part);
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

    fn key_values(&self, programs: &[Program], chunk: &Chunk) -> Result<Vec<Datum>> {
        programs.iter().map(|program| program.eval(chunk, self.context())).collect()
    }
}

/// Hands on pairs of rows: of both sides, or of the left side alone.
#[expect(clippy::too_many_arguments, reason = "both sides of a pair")]
fn emit(
    _schema: &Schema,
    _left: &Rel,
    right: &Rel,
    kind: JoinKind,
    chunk: &Chunk,
    rights: &[Chunk],
    pairs: &[(u32, Place)],
    sink: Sink,
) -> Result<Flow> {
    let rows: Vec<u32> = pairs.iter().map(|(row, _)| *row).collect();
    let mut joined = chunk.take(&rows);
    if !matches!(kind, JoinKind::LeftSemi | JoinKind::LeftAnti) {
        let places: Vec<Place> = pairs.iter().map(|(_, place)| *place).collect();
        joined.columns.extend(gather_rows(&right.schema, rights, &places).columns);
    }
    sink(joined)
}
