//! How types of the language are stored in Parquet, so that other readers see what they expect.
//!
//! | type | Parquet |
//! |---|---|
//! | bool, int, long, real | BOOLEAN, INT32, INT64, DOUBLE |
//! | datetime | INT64 TIMESTAMP of microseconds or nanoseconds, UTC, whichever loses nothing; plain ticks where neither does |
//! | timespan | INT64, ticks of 100 ns |
//! | string | BYTE_ARRAY STRING, never null |
//! | dynamic | BYTE_ARRAY JSON |
//! | decimal | BYTE_ARRAY STRING, the number as text: its scale differs from value to value |
//! | guid | FIXED_LEN_BYTE_ARRAY(16) UUID |
//!
//! The id of a column is its field id.

use std::sync::Arc;

use gantry_analytics::calendar::UNIX_EPOCH;
use gantry_kql::value::Type;
use parquet::basic::{LogicalType, Repetition, TimeUnit, TimestampType, Type as Physical};
use parquet::errors::Result;
use parquet::schema::types::{BasicTypeInfo, Type as Schema, TypePtr};

/// What an INT64 of a datetime counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Microseconds since 1970.
    Micros,
    /// Nanoseconds since 1970.
    Nanos,
    /// Ticks since year 1.
    Ticks,
}

impl Unit {
    /// The first that tells all of these instants exactly.
    pub fn for_ticks(ticks: impl Iterator<Item = i64> + Clone) -> Unit {
        let mut units = [Unit::Micros, Unit::Nanos].into_iter();
        units
            .find(|unit| ticks.clone().all(|at| unit.stored(at).is_some_and(|kept| unit.to_ticks(kept) == Some(at))))
            .unwrap_or(Unit::Ticks)
    }

    /// As it is stored.
    pub fn stored(self, ticks: i64) -> Option<i64> {
        let since = ticks.checked_sub(UNIX_EPOCH)?;
        match self {
            Unit::Micros => Some(since.div_euclid(10)),
            Unit::Nanos => since.checked_mul(100),
            Unit::Ticks => Some(ticks),
        }
    }

    /// And back; nothing when it is beyond what ticks can tell.
    pub fn to_ticks(self, stored: i64) -> Option<i64> {
        match self {
            Unit::Micros => stored.checked_mul(10)?.checked_add(UNIX_EPOCH),
            Unit::Nanos => stored.div_euclid(100).checked_add(UNIX_EPOCH),
            Unit::Ticks => Some(stored),
        }
    }

    /// What a column of a file says.
    pub fn of(info: &BasicTypeInfo) -> Unit {
        match info.logical_type_ref() {
            Some(LogicalType::Timestamp(TimestampType { unit: TimeUnit::MICROS, .. })) => Unit::Micros,
            Some(LogicalType::Timestamp(TimestampType { unit: TimeUnit::NANOS, .. })) => Unit::Nanos,
            _ => Unit::Ticks,
        }
    }
}

/// The column of a file.
pub fn column(id: u64, name: &str, ty: Type, unit: Unit, required: bool) -> Result<TypePtr> {
    let timestamp = |unit| Some(LogicalType::timestamp(true, unit));
    let (physical, logical, length) = match ty {
        Type::Bool => (Physical::BOOLEAN, None, 0),
        Type::Int => (Physical::INT32, None, 0),
        Type::Long | Type::TimeSpan => (Physical::INT64, None, 0),
        Type::DateTime => match unit {
            Unit::Micros => (Physical::INT64, timestamp(TimeUnit::MICROS), 0),
            Unit::Nanos => (Physical::INT64, timestamp(TimeUnit::NANOS), 0),
            Unit::Ticks => (Physical::INT64, None, 0),
        },
        Type::Real => (Physical::DOUBLE, None, 0),
        Type::Guid => (Physical::FIXED_LEN_BYTE_ARRAY, Some(LogicalType::Uuid), 16),
        Type::Decimal | Type::String => (Physical::BYTE_ARRAY, Some(LogicalType::String), 0),
        Type::Dynamic | Type::Unknown => (Physical::BYTE_ARRAY, Some(LogicalType::Json), 0),
    };
    let repetition = if required { Repetition::REQUIRED } else { Repetition::OPTIONAL };
    let built = Schema::primitive_type_builder(name, physical)
        .with_repetition(repetition)
        .with_logical_type(logical)
        .with_length(length)
        .with_id(i32::try_from(id).ok())
        .build()?;
    Ok(Arc::new(built))
}
