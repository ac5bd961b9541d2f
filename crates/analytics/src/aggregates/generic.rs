//! Aggregates with a state of their own for each group.

use std::any::Any;
use std::collections::HashSet;

use gantry_kql::bound::Column as SchemaColumn;
use gantry_kql::value::{Bag, Dynamic, Type, Value};

use super::{Accumulator, Digest, Input};
use crate::column::{Builder, Cell, Column, dynamic_size};
use crate::distinct::Distinct;
use crate::expression::arithmetic_one;
use crate::functions::hash_cell;

/// Elements that an aggregate puts into an array.
const ELEMENTS_MAX: i64 = 1 << 20;

/// The accumulator of an aggregate.
pub fn accumulator(name: &str, types: &[Type], constants: &[Option<Value>]) -> Option<Box<dyn Accumulator>> {
    let constant = |at: usize| constants.get(at).and_then(|value| value.as_ref()).map(Cell::from);
    let limit = |at: usize| constant(at).and_then(|cell| cell.long()).unwrap_or(ELEMENTS_MAX).clamp(0, ELEMENTS_MAX);
    let percents = |from: usize| -> Vec<f64> {
        constants[from.min(constants.len())..]
            .iter()
            .flatten()
            .flat_map(|value| match value {
                Value::Dynamic(Dynamic::Array(items)) => {
                    items.iter().filter_map(|item| Cell::from(item).number()).collect()
                }
                value => Cell::from(value).number().into_iter().collect::<Vec<_>>(),
            })
            .collect()
    };
    let ty = types.first().copied().unwrap_or(Type::Dynamic);
    Some(match name {
        "sum" => states(move || Sum { ty, sum: None }),
        "avg" => states(move || Mean { ty, sum: None, count: 0 }),
        "min" => states(|| Extreme { wanted: std::cmp::Ordering::Less, held: None }),
        "max" => states(|| Extreme { wanted: std::cmp::Ordering::Greater, held: None }),
        "dcount" => {
            let accuracy = constant(1).and_then(|cell| cell.long()).unwrap_or(1).clamp(0, 4) as usize;
            states(move || DistinctCount { set: Distinct::new(accuracy), as_state: false })
        }
        "hll" => {
            let accuracy = constant(1).and_then(|cell| cell.long()).unwrap_or(1).clamp(0, 4) as usize;
            states(move || DistinctCount { set: Distinct::new(accuracy), as_state: true })
        }
        "hll_merge" => states(|| HllMerge(None)),
        "count_distinct" => states(|| ExactDistinct(HashSet::new())),
        "stdev" => states(|| Moments::of(|m| m.variance(1.0).sqrt())),
        "stdevp" => states(|| Moments::of(|m| m.variance(0.0).sqrt())),
        "variance" => states(|| Moments::of(|m| m.variance(1.0))),
        "variancep" => states(|| Moments::of(|m| m.variance(0.0))),
        "covariance" => states(|| Covariance { sample: true, ..Covariance::default() }),
        "covariancep" => states(Covariance::default),
        "percentile" | "percentiles" => {
            let percents = percents(1);
            states(move || Percentiles {
                digest: Digest::default(),
                percents: percents.clone(),
                weighted: false,
                array: false,
                ty,
            })
        }
        "percentiles_array" => {
            let percents = percents(1);
            states(move || Percentiles {
                digest: Digest::default(),
                percents: percents.clone(),
                weighted: false,
                array: true,
                ty,
            })
        }
        "percentilew" | "percentilesw" => {
            let percents = percents(2);
            states(move || Percentiles {
                digest: Digest::default(),
                percents: percents.clone(),
                weighted: true,
                array: false,
                ty,
            })
        }
        "percentilesw_array" => {
            let percents = percents(2);
            states(move || Percentiles {
                digest: Digest::default(),
                percents: percents.clone(),
                weighted: true,
                array: true,
                ty,
            })
        }
        "tdigest" => states(|| TDigest { digest: Digest::default(), merge: false }),
        "tdigest_merge" | "merge_tdigest" => states(|| TDigest { digest: Digest::default(), merge: true }),
        "make_list" => {
            let limit = limit(1);
            states(move || List { items: Vec::new(), limit: limit as usize, with_nulls: false })
        }
        "make_list_with_nulls" => states(|| List { items: Vec::new(), limit: ELEMENTS_MAX as usize, with_nulls: true }),
        "make_set" => {
            let limit = limit(1);
            states(move || Set { items: Vec::new(), seen: HashSet::new(), limit: limit as usize })
        }
        "make_bag" => {
            let limit = limit(1);
            states(move || MakeBag { bag: Bag::new(), limit: limit as usize })
        }
        "buildschema" => states(|| Schema(None)),
        "take_any" => states(|| First(None)),
        "arg_max" => states(|| ArgExtreme { wanted: std::cmp::Ordering::Greater, held: None }),
        "arg_min" => states(|| ArgExtreme { wanted: std::cmp::Ordering::Less, held: None }),
        "binary_all_and" => states(|| Bits { f: |a, b| a & b, held: None }),
        "binary_all_or" => states(|| Bits { f: |a, b| a | b, held: None }),
        "binary_all_xor" => states(|| Bits { f: |a, b| a ^ b, held: None }),
        _ => return None,
    })
}

/// The state of one group.
pub(super) trait State: Send + 'static {
    /// Takes a row.
    fn add(&mut self, cells: &[Cell]);
    /// Takes in the state of rows that came later.
    fn merge(&mut self, later: Self);
    /// The results, one for each column.
    fn finish(self) -> Vec<Value>;
    /// Bytes it holds beyond its own size.
    fn size(&self) -> usize {
        0
    }
}

struct States<S> {
    new: Box<dyn Fn() -> S + Send>,
    states: Vec<S>,
}

pub(super) fn states<S: State>(new: impl Fn() -> S + Send + 'static) -> Box<dyn Accumulator> {
    Box::new(States { new: Box::new(new), states: Vec::new() })
}

impl<S: State> Accumulator for States<S> {
    fn feed(&mut self, input: &Input) {
        let mut cells: Vec<Cell> = Vec::with_capacity(input.arguments.len());
        input.each(|row, group| {
            cells.clear();
            cells.extend(input.arguments.iter().map(|argument| argument.cell(row)));
            self.states[group].add(&cells);
        });
    }

    fn grow(&mut self, groups: usize) {
        self.states.resize_with(groups, &self.new);
    }

    fn merge(&mut self, other: Box<dyn Accumulator>, map: &[u32]) {
        let Ok(other) = other.into_any().downcast::<States<S>>() else { unreachable!("states of one aggregate") };
        for (state, group) in other.states.into_iter().zip(map) {
            self.states[*group as usize].merge(state);
        }
    }

    fn finish(self: Box<Self>, columns: &[SchemaColumn]) -> Vec<Column> {
        let mut builders: Vec<Builder> =
            columns.iter().map(|column| Builder::new(column.ty, self.states.len())).collect();
        for state in self.states {
            let mut values = state.finish().into_iter();
            for builder in &mut builders {
                match values.next() {
                    Some(value) => builder.push(value),
                    None => builder.push_absent(),
                }
            }
        }
        builders.into_iter().map(Builder::finish).collect()
    }

    fn size(&self) -> usize {
        // Every state is looked at only while there are few: a sum over millions would cost more than it tells.
        let looked = self.states.iter().take(1_024);
        let held: usize = looked.clone().map(State::size).sum();
        let looked = looked.count().max(1);
        self.states.len() * (size_of::<S>() + held / looked)
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

/// `sum` of decimals, and of whatever has no vector.
struct Sum {
    ty: Type,
    sum: Option<Value>,
}

impl State for Sum {
    fn add(&mut self, cells: &[Cell]) {
        if cells[0].is_null() {
            return;
        }
        let cell = match self.ty {
            Type::Dynamic => cells[0].number().map_or(Value::Null, Value::Real),
            _ => cells[0].to_value(),
        };
        self.sum = Some(match self.sum.take() {
            None => cell,
            Some(sum) => {
                let ty = sum.ty().unwrap_or(self.ty);
                arithmetic_one(gantry_kql::bound::Binary::Add, Cell::from(&sum), Cell::from(&cell), ty)
            }
        });
    }

    fn merge(&mut self, later: Sum) {
        if let Some(sum) = later.sum {
            self.add(&[Cell::from(&sum)]);
        }
    }

    fn finish(self) -> Vec<Value> {
        vec![self.sum.unwrap_or(match self.ty {
            Type::Decimal => Value::Decimal(gantry_kql::value::Decimal::from(0)),
            _ => Value::Long(0),
        })]
    }
}

/// `avg` of decimals, datetimes and timespans.
struct Mean {
    ty: Type,
    sum: Option<Sums>,
    count: i64,
}

enum Sums {
    Ticks(i128),
    Other(Value),
}

impl State for Mean {
    fn add(&mut self, cells: &[Cell]) {
        let cell = cells[0];
        if cell.is_null() {
            return;
        }
        self.sum = Some(match (self.sum.take(), cell) {
            (None, Cell::DateTime(ticks) | Cell::TimeSpan(ticks)) => Sums::Ticks(i128::from(ticks)),
            (Some(Sums::Ticks(sum)), Cell::DateTime(ticks) | Cell::TimeSpan(ticks)) => {
                Sums::Ticks(sum + i128::from(ticks))
            }
            (Some(Sums::Other(sum)), cell) => {
                let ty = sum.ty().unwrap_or(self.ty);
                Sums::Other(arithmetic_one(gantry_kql::bound::Binary::Add, Cell::from(&sum), cell, ty))
            }
            (None, cell) => Sums::Other(cell.to_value()),
            (sum, _) => match sum {
                Some(sum) => sum,
                None => return,
            },
        });
        self.count += 1;
    }

    fn merge(&mut self, later: Mean) {
        self.count += later.count;
        self.sum = match (self.sum.take(), later.sum) {
            (Some(Sums::Ticks(a)), Some(Sums::Ticks(b))) => Some(Sums::Ticks(a + b)),
            (Some(Sums::Other(a)), Some(Sums::Other(b))) => {
                let ty = a.ty().unwrap_or(self.ty);
                Some(Sums::Other(arithmetic_one(gantry_kql::bound::Binary::Add, Cell::from(&a), Cell::from(&b), ty)))
            }
            (a, b) => a.or(b),
        };
    }

    fn finish(self) -> Vec<Value> {
        vec![match self.sum {
            Some(Sums::Ticks(sum)) => crate::column::ticks_value(self.ty, (sum / i128::from(self.count)) as i64),
            Some(Sums::Other(sum)) => match Cell::from(&sum) {
                cell @ Cell::Decimal(_) => {
                    arithmetic_one(gantry_kql::bound::Binary::Divide, cell, Cell::Long(self.count), Type::Decimal)
                }
                cell => cell.real().map_or(Value::Null, |sum| Value::Real(sum / self.count as f64)),
            },
            None => Value::Null,
        }]
    }
}

/// `min` and `max` of what has no vector.
struct Extreme {
    wanted: std::cmp::Ordering,
    held: Option<Value>,
}

impl State for Extreme {
    fn add(&mut self, cells: &[Cell]) {
        let cell = cells[0];
        let better = match &self.held {
            _ if cell.is_null() => false,
            None => true,
            Some(held) => cell.compare(Cell::from(held)) == Some(self.wanted),
        };
        if better {
            self.held = Some(cell.to_value());
        }
    }

    fn merge(&mut self, later: Extreme) {
        if let Some(held) = later.held {
            self.add(&[Cell::from(&held)]);
        }
    }

    fn finish(self) -> Vec<Value> {
        vec![self.held.unwrap_or(Value::Null)]
    }
}

/// `dcount` and `hll`.
struct DistinctCount {
    set: Distinct,
    as_state: bool,
}

impl State for DistinctCount {
    fn add(&mut self, cells: &[Cell]) {
        if !cells[0].is_null() {
            self.set.add(hash_cell(cells[0]));
        }
    }

    fn merge(&mut self, later: DistinctCount) {
        self.set.merge(&later.set);
    }

    fn finish(self) -> Vec<Value> {
        vec![if self.as_state { hll_value(&self.set) } else { Value::Long(self.set.count()) }]
    }

    fn size(&self) -> usize {
        self.set.to_bytes().len()
    }
}

/// A distinct set as a value that can be stored: an array of its bytes as one text.
pub fn hll_value(set: &Distinct) -> Value {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(set.to_bytes());
    Value::Dynamic(Dynamic::Array(vec![Dynamic::String(text)]))
}

/// Reads a stored set.
pub fn hll_of(cell: Cell) -> Option<Distinct> {
    use base64::Engine;
    let [Dynamic::String(text)] = cell.array()? else { return None };
    Distinct::from_bytes(&base64::engine::general_purpose::STANDARD.decode(text).ok()?)
}

struct HllMerge(Option<Distinct>);

impl State for HllMerge {
    fn add(&mut self, cells: &[Cell]) {
        let Some(set) = hll_of(cells[0]) else { return };
        match &mut self.0 {
            Some(held) => held.merge(&set),
            None => self.0 = Some(set),
        }
    }

    fn merge(&mut self, later: HllMerge) {
        match (&mut self.0, later.0) {
            (Some(held), Some(set)) => held.merge(&set),
            (held, set) => *held = held.take().or(set),
        }
    }

    fn finish(self) -> Vec<Value> {
        vec![self.0.map_or(Value::Null, |set| hll_value(&set))]
    }
}

struct ExactDistinct(HashSet<Vec<u8>>);

/// A value as bytes under which equal values are one.
fn key_bytes(cell: Cell) -> Vec<u8> {
    struct Bytes(Vec<u8>);
    impl std::hash::Hasher for Bytes {
        fn finish(&self) -> u64 {
            0
        }
        fn write(&mut self, bytes: &[u8]) {
            self.0.extend_from_slice(bytes);
        }
    }
    let mut bytes = Bytes(Vec::new());
    cell.feed(&mut bytes);
    bytes.0
}

impl State for ExactDistinct {
    fn add(&mut self, cells: &[Cell]) {
        if !cells[0].is_null() {
            self.0.insert(key_bytes(cells[0]));
        }
    }

    fn merge(&mut self, later: ExactDistinct) {
        self.0.extend(later.0);
    }

    fn finish(self) -> Vec<Value> {
        vec![Value::Long(self.0.len() as i64)]
    }

    fn size(&self) -> usize {
        self.0.len() * 64
    }
}

/// Count, mean and squares around it (Welford, and Chan for merging).
struct Moments {
    n: f64,
    mean: f64,
    squares: f64,
    read: fn(&Moments) -> f64,
}

impl Moments {
    fn of(read: fn(&Moments) -> f64) -> Moments {
        Moments { n: 0.0, mean: 0.0, squares: 0.0, read }
    }

    fn variance(&self, less: f64) -> f64 {
        if self.n > less { self.squares / (self.n - less) } else { 0.0 }
    }
}

impl State for Moments {
    fn add(&mut self, cells: &[Cell]) {
        let value = match cells[0] {
            Cell::TimeSpan(ticks) | Cell::DateTime(ticks) => Some(ticks as f64),
            cell => cell.real(),
        };
        let Some(value) = value else { return };
        self.n += 1.0;
        let off = value - self.mean;
        self.mean += off / self.n;
        self.squares += off * (value - self.mean);
    }

    fn merge(&mut self, later: Moments) {
        let n = self.n + later.n;
        if n > 0.0 {
            let off = later.mean - self.mean;
            self.squares += later.squares + off * off * self.n * later.n / n;
            self.mean += off * later.n / n;
            self.n = n;
        }
    }

    fn finish(self) -> Vec<Value> {
        vec![Value::Real((self.read)(&self))]
    }
}

#[derive(Default)]
struct Covariance {
    sample: bool,
    n: f64,
    mean_x: f64,
    mean_y: f64,
    cross: f64,
}

impl State for Covariance {
    fn add(&mut self, cells: &[Cell]) {
        let (Some(x), Some(y)) = (cells[0].real(), cells[1].real()) else { return };
        self.n += 1.0;
        let off = x - self.mean_x;
        self.mean_x += off / self.n;
        self.mean_y += (y - self.mean_y) / self.n;
        self.cross += off * (y - self.mean_y);
    }

    fn merge(&mut self, later: Covariance) {
        let n = self.n + later.n;
        if n > 0.0 {
            let (off_x, off_y) = (later.mean_x - self.mean_x, later.mean_y - self.mean_y);
            self.cross += later.cross + off_x * off_y * self.n * later.n / n;
            self.mean_x += off_x * later.n / n;
            self.mean_y += off_y * later.n / n;
            self.n = n;
        }
    }

    fn finish(self) -> Vec<Value> {
        let less = if self.sample { 1.0 } else { 0.0 };
        vec![Value::Real(if self.n > less { self.cross / (self.n - less) } else { 0.0 })]
    }
}

struct Percentiles {
    digest: Digest,
    percents: Vec<f64>,
    weighted: bool,
    array: bool,
    ty: Type,
}

impl State for Percentiles {
    fn add(&mut self, cells: &[Cell]) {
        let weight = if self.weighted { cells[1].number().unwrap_or(0.0) } else { 1.0 };
        self.digest.add(cells[0], weight);
    }

    fn merge(&mut self, later: Percentiles) {
        self.digest.merge(&later.digest);
    }

    fn finish(mut self) -> Vec<Value> {
        let found = self.digest.percentiles(&self.percents, self.ty);
        if self.array {
            return vec![Value::Dynamic(Dynamic::Array(found.into_iter().map(Value::into_dynamic).collect()))];
        }
        found
    }

    fn size(&self) -> usize {
        self.digest.size()
    }
}

struct TDigest {
    digest: Digest,
    merge: bool,
}

impl State for TDigest {
    fn add(&mut self, cells: &[Cell]) {
        if self.merge {
            if let Some(other) = Digest::from_cell(cells[0]) {
                self.digest.merge(&other);
            }
        } else {
            let weight = cells.get(1).and_then(|cell| cell.number()).unwrap_or(1.0);
            self.digest.add(cells[0], weight);
        }
    }

    fn merge(&mut self, later: TDigest) {
        self.digest.merge(&later.digest);
    }

    fn finish(self) -> Vec<Value> {
        vec![Value::Dynamic(self.digest.into_dynamic())]
    }

    fn size(&self) -> usize {
        self.digest.size()
    }
}

struct List {
    items: Vec<Dynamic>,
    limit: usize,
    with_nulls: bool,
}

impl State for List {
    fn add(&mut self, cells: &[Cell]) {
        if self.items.len() < self.limit && (self.with_nulls || !cells[0].is_null()) {
            self.items.push(cells[0].to_dynamic());
        }
    }

    fn merge(&mut self, later: List) {
        let room = self.limit.saturating_sub(self.items.len());
        self.items.extend(later.items.into_iter().take(room));
    }

    fn finish(self) -> Vec<Value> {
        vec![Value::Dynamic(Dynamic::Array(self.items))]
    }

    fn size(&self) -> usize {
        self.items.iter().take(64).map(dynamic_size).sum::<usize>() * (self.items.len() / 64 + 1)
    }
}

/// Elements of arrays are elements of the set.
struct Set {
    items: Vec<Dynamic>,
    seen: HashSet<Vec<u8>>,
    limit: usize,
}

impl Set {
    fn put(&mut self, cell: Cell) {
        if cell.is_null() || self.items.len() >= self.limit {
            return;
        }
        if self.seen.insert(key_bytes(cell)) {
            self.items.push(cell.to_dynamic());
        }
    }
}

impl State for Set {
    fn add(&mut self, cells: &[Cell]) {
        match cells[0].array() {
            Some(items) => items.iter().for_each(|item| self.put(Cell::from(item))),
            None => self.put(cells[0]),
        }
    }

    fn merge(&mut self, later: Set) {
        later.items.iter().for_each(|item| self.put(Cell::from(item)));
    }

    fn finish(self) -> Vec<Value> {
        vec![Value::Dynamic(Dynamic::Array(self.items))]
    }

    fn size(&self) -> usize {
        self.items.iter().take(64).map(dynamic_size).sum::<usize>() * 2 * (self.items.len() / 64 + 1)
    }
}

/// Of a name twice the first value counts.
struct MakeBag {
    bag: Bag,
    limit: usize,
}

impl State for MakeBag {
    fn add(&mut self, cells: &[Cell]) {
        let Cell::Dynamic(Dynamic::Bag(bag)) = cells[0] else { return };
        for (name, value) in bag.iter() {
            if self.bag.len() < self.limit && self.bag.get(name).is_none() {
                self.bag.put(name.to_owned(), value.clone());
            }
        }
    }

    fn merge(&mut self, later: MakeBag) {
        self.add(&[Cell::Dynamic(&Dynamic::Bag(later.bag))]);
    }

    fn finish(self) -> Vec<Value> {
        vec![Value::Dynamic(Dynamic::Bag(self.bag))]
    }
}

/// `buildschema`: the types under every name. Arrays have their elements' schema under `indexer`.
struct Schema(Option<Dynamic>);

impl Schema {
    fn of(value: &Dynamic) -> Dynamic {
        match value {
            Dynamic::Bag(bag) => Dynamic::Bag(Bag::from_entries(
                bag.iter().map(|(name, value)| (name.to_owned(), Schema::of(value))).collect(),
            )),
            Dynamic::Array(items) => {
                let inner = items.iter().map(Schema::of).reduce(Schema::unite).unwrap_or(Dynamic::Array(vec![]));
                Dynamic::Bag(Bag::from_entries(vec![("indexer".to_owned(), inner)]))
            }
            Dynamic::Real(_) => Dynamic::String("double".into()),
            other => Dynamic::String(other.type_name().into()),
        }
    }

    fn unite(a: Dynamic, b: Dynamic) -> Dynamic {
        match (a, b) {
            (a, b) if a == b => a,
            (Dynamic::Bag(a), Dynamic::Bag(b)) => {
                let mut united = a;
                for (name, value) in b.into_entries() {
                    let merged = match united.get(&name).cloned() {
                        Some(known) => Schema::unite(known, value),
                        None => value,
                    };
                    united.put(name, merged);
                }
                Dynamic::Bag(united)
            }
            (Dynamic::Array(mut kinds), other) | (other, Dynamic::Array(mut kinds)) => {
                match other {
                    Dynamic::Array(others) => others.into_iter().for_each(|one| {
                        if !kinds.contains(&one) {
                            kinds.push(one);
                        }
                    }),
                    one => {
                        if !kinds.contains(&one) {
                            kinds.push(one);
                        }
                    }
                }
                if kinds.len() == 1 { kinds.remove(0) } else { Dynamic::Array(kinds) }
            }
            (a, b) => Dynamic::Array(vec![a, b]),
        }
    }
}

impl State for Schema {
    fn add(&mut self, cells: &[Cell]) {
        if cells[0].is_null() {
            return;
        }
        let schema = Schema::of(&cells[0].to_dynamic());
        self.0 = Some(match self.0.take() {
            Some(held) => Schema::unite(held, schema),
            None => schema,
        });
    }

    fn merge(&mut self, later: Schema) {
        self.0 = match (self.0.take(), later.0) {
            (Some(a), Some(b)) => Some(Schema::unite(a, b)),
            (a, b) => a.or(b),
        };
    }

    fn finish(self) -> Vec<Value> {
        vec![self.0.map_or(Value::Null, Value::Dynamic)]
    }
}

/// `take_any`: the first row, and of each column the first value that is there.
struct First(Option<Vec<Value>>);

impl State for First {
    fn add(&mut self, cells: &[Cell]) {
        match &mut self.0 {
            None => self.0 = Some(cells.iter().map(|cell| cell.to_value()).collect()),
            Some(held) if cells.len() == 1 && is_absent(&held[0]) => held[0] = cells[0].to_value(),
            Some(_) => {}
        }
    }

    fn merge(&mut self, later: First) {
        if self.0.is_none() {
            self.0 = later.0;
        }
    }

    fn finish(self) -> Vec<Value> {
        self.0.unwrap_or_default()
    }
}

fn is_absent(value: &Value) -> bool {
    matches!(value, Value::Null) || matches!(value, Value::String(text) if text.is_empty())
}

/// `arg_max` and `arg_min`: the first of equal rows. A row without the value counts only when no row has it.
struct ArgExtreme {
    wanted: std::cmp::Ordering,
    held: Option<Vec<Value>>,
}

impl State for ArgExtreme {
    fn add(&mut self, cells: &[Cell]) {
        let better = match &self.held {
            None => true,
            Some(held) => match (&held[0], cells[0]) {
                (_, Cell::Null) => false,
                (Value::Null, _) => true,
                (held, cell) => cell.compare(Cell::from(held)) == Some(self.wanted),
            },
        };
        if better {
            self.held = Some(cells.iter().map(|cell| cell.to_value()).collect());
        }
    }

    fn merge(&mut self, later: ArgExtreme) {
        if let Some(held) = later.held {
            let cells: Vec<Cell> = held.iter().map(Cell::from).collect();
            self.add(&cells);
        }
    }

    fn finish(self) -> Vec<Value> {
        self.held.unwrap_or_default()
    }

    fn size(&self) -> usize {
        self.held.as_ref().map_or(0, |held| held.len() * size_of::<Value>())
    }
}

struct Bits {
    f: fn(i64, i64) -> i64,
    held: Option<i64>,
}

impl State for Bits {
    fn add(&mut self, cells: &[Cell]) {
        if let Some(value) = cells[0].long() {
            self.held = Some(self.held.map_or(value, |held| (self.f)(held, value)));
        }
    }

    fn merge(&mut self, later: Bits) {
        if let Some(value) = later.held {
            self.add(&[Cell::Long(value)]);
        }
    }

    fn finish(self) -> Vec<Value> {
        vec![self.held.map_or(Value::Null, Value::Long)]
    }
}
