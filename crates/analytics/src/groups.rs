//! Telling groups apart: the values of the keys of each row become the number of its group.
//!
//! Every value becomes one 64-bit word (a guid two, a text the number it was given when it was first seen); the words
//! of a row, with a word that marks its nulls, are looked up in one table. So a group costs the same whatever its keys
//! are, and rows whose texts come from a dictionary are grouped without looking at the texts.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;

use gantry_kql::value::{Decimal, Dynamic, Type};
use hashbrown::{DefaultHashBuilder, HashTable};

use crate::column::{Builder, Cell, Column, Data, Strings, real_bits};
use crate::expression::Datum;

/// Numbers for texts.
#[derive(Debug, Default)]
struct Interner {
    numbers: HashMap<Arc<str>, u64, DefaultHashBuilder>,
    texts: Vec<Arc<str>>,
}

impl Interner {
    fn number(&mut self, text: &str) -> u64 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let (number, text): (u64, Arc<str>) = (self.texts.len() as u64, text.into());
        self.texts.push(Arc::clone(&text));
        self.numbers.insert(text, number);
        number
    }
}

/// The groups seen so far.
#[derive(Debug)]
pub struct Groups {
    types: Vec<Type>,
    interners: Vec<Interner>,
    /// Words of a group: nulls first, then one for each key, two for a guid.
    width: usize,
    words: Vec<u64>,
    table: HashTable<u32>,
    hasher: DefaultHashBuilder,
    bytes: usize,
}

impl Groups {
    /// No group yet, over keys of these types.
    pub fn new(types: Vec<Type>) -> Groups {
        let width = 1 + types.iter().map(|ty| if *ty == Type::Guid { 2 } else { 1 }).sum::<usize>();
        Groups {
            interners: types.iter().map(|_| Interner::default()).collect(),
            types,
            width,
            words: Vec::new(),
            table: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            bytes: 0,
        }
    }

    /// How many groups there are.
    pub fn len(&self) -> usize {
        self.words.len() / self.width
    }

    /// About how many bytes they hold.
    pub fn size(&self) -> usize {
        self.bytes + self.words.capacity() * 8 + self.table.capacity() * 5
    }

    /// The group of each row; new ones are made.
    pub fn of_rows(&mut self, keys: &[Datum], rows: usize) -> Vec<u32> {
        let (interners, bytes) = (&mut self.interners, &mut self.bytes);
        let words = encode(&self.types, self.width, keys, rows, |key, text| {
            let known = interners[key].texts.len();
            let number = interners[key].number(text);
            if interners[key].texts.len() > known {
                *bytes += text.len() + 64;
            }
            number
        });
        let width = self.width;
        let mut groups: Vec<u32> = Vec::with_capacity(rows);
        for row in 0..rows {
            let keys = &words[row * width..(row + 1) * width];
            // Rows of one group often follow each other.
            let same = groups.last().filter(|_| *keys == words[(row - 1) * width..row * width]);
            let group = same.copied();
            groups.push(group.unwrap_or_else(|| self.find_or_add(keys)));
        }
        groups
    }

    /// The group of each row, and nothing for rows whose group is not there or that have a null among their keys.
    pub fn find_rows(&self, keys: &[Datum], rows: usize) -> Vec<Option<u32>> {
        // A text that nobody has seen is in no group.
        let number = |key: usize, text: &str| self.interners[key].numbers.get(text).copied().unwrap_or(u64::MAX);
        let (words, width) = (encode(&self.types, self.width, keys, rows, number), self.width);
        (0..rows)
            .map(|row| {
                let row = &words[row * width..(row + 1) * width];
                if row[0] != 0 { None } else { self.find(row) }
            })
            .collect()
    }

    fn find(&self, row: &[u64]) -> Option<u32> {
        let (words, width) = (&self.words, self.width);
        let same = |group: &u32| &words[*group as usize * width..(*group as usize + 1) * width] == row;
        self.table.find(self.hasher.hash_one(row), same).copied()
    }

    fn find_or_add(&mut self, row: &[u64]) -> u32 {
        if let Some(group) = self.find(row) {
            return group;
        }
        let group = self.len() as u32;
        self.words.extend_from_slice(row);
        let (words, width, hasher) = (&self.words, self.width, &self.hasher);
        let rehash = |group: &u32| hasher.hash_one(&words[*group as usize * width..(*group as usize + 1) * width]);
        self.table.insert_unique(hasher.hash_one(row), group, rehash);
        group
    }

    /// Whether a group has a null among its keys.
    pub fn has_null(&self, group: u32) -> bool {
        self.words[group as usize * self.width] != 0
    }

    /// The keys of all groups, a column each.
    pub fn columns(&self) -> Vec<Column> {
        let mut at = 1;
        let mut columns = Vec::with_capacity(self.types.len());
        for (key, ty) in self.types.iter().enumerate() {
            let mut builder = Builder::new(*ty, self.len());
            for group in 0..self.len() {
                let words = &self.words[group * self.width..(group + 1) * self.width];
                let is_null = words[0] & (1 << (key % 64)) != 0;
                let word = words[at];
                if is_null {
                    builder.push_absent();
                    continue;
                }
                let text = || &*self.interners[key].texts[word as usize];
                match ty {
                    Type::Bool => builder.push_cell(Cell::Bool(word != 0)),
                    Type::Int => builder.push_cell(Cell::Int(word.cast_signed() as i32)),
                    Type::Long => builder.push_cell(Cell::Long(word.cast_signed())),
                    Type::DateTime => builder.push_cell(Cell::DateTime(word.cast_signed())),
                    Type::TimeSpan => builder.push_cell(Cell::TimeSpan(word.cast_signed())),
                    Type::Real => builder.push_cell(Cell::Real(f64::from_bits(word))),
                    Type::Guid => builder.push_cell(Cell::Guid((u128::from(word) << 64) | u128::from(words[at + 1]))),
                    Type::String => builder.push_cell(Cell::String(text())),
                    Type::Decimal => match Decimal::parse(text()) {
                        Some(value) => builder.push_cell(Cell::Decimal(value)),
                        None => builder.push_absent(),
                    },
                    Type::Dynamic | Type::Unknown => {
                        let value = Dynamic::parse_json(text()).unwrap_or(Dynamic::Null);
                        builder.push_cell(Cell::from(&value));
                    }
                }
            }
            columns.push(builder.finish());
            at += if *ty == Type::Guid { 2 } else { 1 };
        }
        columns
    }
}

/// The words of each row, row by row; texts of a key become numbers.
fn encode(
    types: &[Type],
    width: usize,
    keys: &[Datum],
    rows: usize,
    mut number: impl FnMut(usize, &str) -> u64,
) -> Vec<u64> {
    let mut words = vec![0_u64; rows * width];
    let mut at = 1;
    for (key, datum) in keys.iter().enumerate() {
        let null = 1_u64 << (key % 64);
        let ty = types[key];
        let mut put = |row: usize, cell: Cell| {
            let word = &mut words[row * width + at];
            match cell {
                Cell::Null => words[row * width] |= null,
                Cell::Bool(value) => *word = u64::from(value),
                Cell::Int(value) => *word = i64::from(value).cast_unsigned(),
                Cell::Long(value) | Cell::DateTime(value) | Cell::TimeSpan(value) if ty != Type::Dynamic => {
                    *word = value.cast_unsigned();
                }
                Cell::Real(value) if ty != Type::Dynamic => *word = real_bits(value),
                Cell::Guid(bits) if ty == Type::Guid => {
                    *word = (bits >> 64) as u64;
                    words[row * width + at + 1] = bits as u64;
                }
                Cell::String(text) if ty == Type::String => *word = number(key, text),
                Cell::Decimal(value) if ty == Type::Decimal => *word = number(key, &value.normalized().to_string()),
                other => *word = number(key, &other.to_dynamic().to_json()),
            }
        };
        match datum {
            Datum::One(value) => (0..rows).for_each(|row| put(row, Cell::from(value))),
            Datum::Many(column) => match (column.data(), column.nulls()) {
                (Data::Long(values), None) if ty != Type::Dynamic => {
                    let put = |(row, value): (usize, &i64)| words[row * width + at] = value.cast_unsigned();
                    values.iter().enumerate().for_each(put);
                }
                (Data::String(Strings::Dictionary { codes, words: texts }), _)
                    if ty != Type::Dynamic && texts.len() <= codes.len() =>
                {
                    let numbers: Vec<u64> = texts.iter().map(|text| number(key, text)).collect();
                    let put = |(row, code): (usize, &u32)| words[row * width + at] = numbers[*code as usize];
                    codes.iter().enumerate().for_each(put);
                }
                _ => (0..rows).for_each(|row| put(row, column.cell(row))),
            },
        }
        at += if ty == Type::Guid { 2 } else { 1 };
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_kql::value::Value;

    fn many(column: Column) -> Datum {
        Datum::Many(Arc::new(column))
    }

    #[test]
    fn rows_with_the_same_keys_are_one_group_whatever_the_form_of_the_texts() {
        let plain: Strings = ["a", "b", "a"].into_iter().collect();
        let coded = Strings::Dictionary { codes: vec![1, 0, 1], words: Arc::new(vec!["b".into(), "a".into()]) };
        let mut groups = Groups::new(vec![Type::String, Type::Long]);
        for strings in [plain, coded] {
            let keys =
                [many(Column::new(Type::String, Data::String(strings), None)), many(Column::from(vec![1_i64, 2, 1]))];
            assert_eq!(groups.of_rows(&keys, 3), [0, 1, 0]);
        }
        let columns = groups.columns();
        assert_eq!((columns[0].value(1), columns[1].value(1)), (Value::String("b".into()), Value::Long(2)));
    }

    #[test]
    fn texts_are_one_dynamic_key_whatever_their_form() {
        let coded = Strings::Dictionary { codes: vec![0, 0], words: Arc::new(vec!["a".into()]) };
        let mut groups = Groups::new(vec![Type::Dynamic]);
        for strings in [["a", "a"].into_iter().collect(), coded] {
            let keys = [many(Column::new(Type::String, Data::String(strings), None))];
            assert_eq!(groups.of_rows(&keys, 2), [0, 0]);
        }
        assert_eq!(groups.columns()[0].value(0).to_string(), "a");
    }

    #[test]
    fn null_is_a_group_of_its_own_and_matches_no_search() {
        let column = Column::new(
            Type::Real,
            Data::Real(vec![0.0, 0.0, -0.0, f64::NAN, f64::NAN]),
            Some(vec![false, true, false, false, false]),
        );
        let mut groups = Groups::new(vec![Type::Real]);
        let keys = [many(column)];
        assert_eq!(groups.of_rows(&keys, 5), [0, 1, 0, 2, 2]);
        assert_eq!(groups.find_rows(&keys, 2), [Some(0), None]);
        assert!(groups.has_null(1));
        assert_eq!(groups.columns()[0].value(1), Value::Null);
    }
}
