//! The functions of the dialect: what they take and return, and which function of the engine works them out.
//!
//! Functions of the engine that belong to SQL alone begin with `sql.`: no text of KQL can name them. A strict one is
//! null when an argument is; texts come to it as strings or, where they may be null, as dynamic values.

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock, PoisonError};

use gantry_kql::functions::{self, Aggregation, Function, Naming};

use crate::types::{Base, SqlType};

/// What a parameter takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// A value of a type, or one that becomes it without being asked.
    Of(SqlType),
    /// Anything.
    Any,
    /// Any array.
    Array,
    /// json or jsonb.
    Json,
}

/// What a call returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gives {
    /// A type.
    Of(SqlType),
    /// The type of the first argument.
    First,
    /// The type of the elements of the first argument.
    Element,
}

/// When the result may be null.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nulls {
    /// When an argument is.
    Strict,
    /// Always.
    Maybe,
    /// Never.
    Never,
}

/// One way to call a function.
#[derive(Debug, Clone, Copy)]
pub struct Signature {
    /// The name, in lower case.
    pub name: &'static str,
    /// The parameters.
    pub takes: &'static [Takes],
    /// The last parameter repeats.
    pub variadic: bool,
    /// What it returns.
    pub gives: Gives,
    /// When that may be null.
    pub nulls: Nulls,
    /// The function of the engine.
    pub engine: &'static str,
}

const T: Takes = Takes::Of(SqlType::TEXT);
const I: Takes = Takes::Of(SqlType::INT4);
const L: Takes = Takes::Of(SqlType::INT8);
const F: Takes = Takes::Of(SqlType::FLOAT8);
const N: Takes = Takes::Of(SqlType::NUMERIC);
const TS: Takes = Takes::Of(SqlType::TIMESTAMP);
const TZ: Takes = Takes::Of(SqlType::TIMESTAMPTZ);
const IV: Takes = Takes::Of(SqlType::INTERVAL);
const BO: Takes = Takes::Of(SqlType::BOOL);
const A: Takes = Takes::Any;
const J: Takes = Takes::Json;
const AR: Takes = Takes::Array;

const fn strict(name: &'static str, engine: &'static str, takes: &'static [Takes], gives: SqlType) -> Signature {
    Signature { name, takes, variadic: false, gives: Gives::Of(gives), nulls: Nulls::Strict, engine }
}

const fn same(name: &'static str, engine: &'static str, takes: &'static [Takes]) -> Signature {
    Signature { name, takes, variadic: false, gives: Gives::First, nulls: Nulls::Strict, engine }
}

const fn maybe(name: &'static str, engine: &'static str, takes: &'static [Takes], gives: SqlType) -> Signature {
    Signature { name, takes, variadic: false, gives: Gives::Of(gives), nulls: Nulls::Maybe, engine }
}

const fn many(
    name: &'static str,
    engine: &'static str,
    takes: &'static [Takes],
    gives: SqlType,
    nulls: Nulls,
) -> Signature {
    Signature { name, takes, variadic: true, gives: Gives::Of(gives), nulls, engine }
}

const TEXT: SqlType = SqlType::TEXT;
const INT4: SqlType = SqlType::INT4;
const FLOAT8: SqlType = SqlType::FLOAT8;
const NUMERIC: SqlType = SqlType::NUMERIC;
const BOOL: SqlType = SqlType::BOOL;
const JSONB: SqlType = SqlType::JSONB;
const TEXTS: SqlType = SqlType::array_of(Base::Text);

/// All signatures; of one name the first that fits best counts.
pub const SIGNATURES: &[Signature] = &[
    // Texts.
    strict("lower", "sql.lower", &[T], TEXT),
    strict("upper", "sql.upper", &[T], TEXT),
    strict("initcap", "sql.initcap", &[T], TEXT),
    strict("length", "sql.length", &[T], INT4),
    strict("char_length", "sql.length", &[T], INT4),
    strict("character_length", "sql.length", &[T], INT4),
    strict("octet_length", "sql.octet_length", &[T], INT4),
    strict("btrim", "sql.btrim", &[T], TEXT),
    strict("btrim", "sql.btrim", &[T, T], TEXT),
    strict("ltrim", "sql.ltrim", &[T], TEXT),
    strict("ltrim", "sql.ltrim", &[T, T], TEXT),
    strict("rtrim", "sql.rtrim", &[T], TEXT),
    strict("rtrim", "sql.rtrim", &[T, T], TEXT),
    strict("substr", "sql.substr", &[T, I], TEXT),
    strict("substr", "sql.substr", &[T, I, I], TEXT),
    strict("substring", "sql.substr", &[T, I], TEXT),
    strict("substring", "sql.substr", &[T, I, I], TEXT),
    maybe("substring", "sql.regexp_substr", &[T, T], TEXT),
    strict("left", "sql.left", &[T, I], TEXT),
    strict("right", "sql.right", &[T, I], TEXT),
    strict("replace", "sql.replace", &[T, T, T], TEXT),
    strict("translate", "sql.translate", &[T, T, T], TEXT),
    strict("split_part", "sql.split_part", &[T, T, I], TEXT),
    strict("strpos", "sql.strpos", &[T, T], INT4),
    strict("repeat", "sql.repeat", &[T, I], TEXT),
    strict("reverse", "sql.reverse", &[T], TEXT),
    strict("lpad", "sql.lpad", &[T, I], TEXT),
    strict("lpad", "sql.lpad", &[T, I, T], TEXT),
    strict("rpad", "sql.rpad", &[T, I], TEXT),
    strict("rpad", "sql.rpad", &[T, I, T], TEXT),
    strict("starts_with", "sql.starts_with", &[T, T], BOOL),
    strict("ascii", "sql.ascii", &[T], INT4),
    strict("chr", "sql.chr", &[I], TEXT),
    strict("md5", "sql.md5", &[T], TEXT),
    strict("to_hex", "sql.to_hex", &[L], TEXT),
    strict("quote_ident", "sql.quote_ident", &[T], TEXT),
    strict("quote_literal", "sql.quote_literal", &[T], TEXT),
    strict("regexp_replace", "sql.regexp_replace", &[T, T, T], TEXT),
    strict("regexp_replace", "sql.regexp_replace", &[T, T, T, T], TEXT),
    maybe("regexp_match", "sql.regexp_match", &[T, T], TEXTS),
    strict("parse_ident", "sql.parse_ident", &[T], TEXTS),
    many("concat", "sql.concat", &[T], TEXT, Nulls::Never),
    many("concat_ws", "sql.concat_ws", &[T, T], TEXT, Nulls::Maybe),
    // Numbers.
    same("abs", "sql.abs", &[I]),
    same("abs", "sql.abs", &[L]),
    same("abs", "sql.abs", &[N]),
    same("abs", "sql.abs", &[F]),
    strict("ceil", "sql.ceil_numeric", &[N], NUMERIC),
    strict("ceil", "sql.ceil", &[F], FLOAT8),
    strict("ceiling", "sql.ceil_numeric", &[N], NUMERIC),
    strict("ceiling", "sql.ceil", &[F], FLOAT8),
    strict("floor", "sql.floor_numeric", &[N], NUMERIC),
    strict("floor", "sql.floor", &[F], FLOAT8),
    strict("round", "sql.round_numeric", &[N], NUMERIC),
    strict("round", "sql.round", &[F], FLOAT8),
    strict("round", "sql.round_numeric", &[N, I], NUMERIC),
    strict("trunc", "sql.trunc_numeric", &[N], NUMERIC),
    strict("trunc", "sql.trunc", &[F], FLOAT8),
    strict("trunc", "sql.trunc_numeric", &[N, I], NUMERIC),
    same("sign", "sql.sign", &[N]),
    strict("sign", "sql.sign", &[F], FLOAT8),
    strict("sqrt", "sql.sqrt", &[F], FLOAT8),
    strict("cbrt", "sql.cbrt", &[F], FLOAT8),
    strict("exp", "sql.exp", &[F], FLOAT8),
    strict("ln", "sql.ln", &[F], FLOAT8),
    strict("log", "sql.log10", &[F], FLOAT8),
    strict("log", "sql.log", &[F, F], FLOAT8),
    strict("log10", "sql.log10", &[F], FLOAT8),
    strict("power", "sql.power", &[F, F], FLOAT8),
    strict("pow", "sql.power", &[F, F], FLOAT8),
    strict("sin", "sql.sin", &[F], FLOAT8),
    strict("cos", "sql.cos", &[F], FLOAT8),
    strict("tan", "sql.tan", &[F], FLOAT8),
    strict("asin", "sql.asin", &[F], FLOAT8),
    strict("acos", "sql.acos", &[F], FLOAT8),
    strict("atan", "sql.atan", &[F], FLOAT8),
    strict("atan2", "sql.atan2", &[F, F], FLOAT8),
    strict("degrees", "sql.degrees", &[F], FLOAT8),
    strict("radians", "sql.radians", &[F], FLOAT8),
    strict("random", "sql.random", &[], FLOAT8),
    // Time.
    strict("date_trunc", "sql.date_trunc", &[T, TS], SqlType::TIMESTAMP),
    strict("date_trunc", "sql.date_trunc", &[T, TZ], SqlType::TIMESTAMPTZ),
    strict("date_trunc", "sql.date_trunc_span", &[T, IV], SqlType::INTERVAL),
    strict("date_trunc", "sql.date_trunc", &[T, TZ, T], SqlType::TIMESTAMPTZ),
    strict("date_part", "sql.date_part", &[T, TS], FLOAT8),
    strict("date_part", "sql.date_part", &[T, TZ], FLOAT8),
    strict("date_part", "sql.date_part", &[T, IV], FLOAT8),
    strict("date_bin", "sql.date_bin", &[IV, TS, TS], SqlType::TIMESTAMP),
    strict("date_bin", "sql.date_bin", &[IV, TZ, TZ], SqlType::TIMESTAMPTZ),
    strict("time_bucket", "sql.time_bucket", &[IV, TS], SqlType::TIMESTAMP),
    strict("time_bucket", "sql.time_bucket", &[IV, TZ], SqlType::TIMESTAMPTZ),
    strict("time_bucket", "sql.time_bucket", &[IV, TZ, TZ], SqlType::TIMESTAMPTZ),
    strict("to_timestamp", "sql.to_timestamp", &[F], SqlType::TIMESTAMPTZ),
    strict("to_char", "sql.to_char", &[TS, T], TEXT),
    strict("to_char", "sql.to_char", &[TZ, T], TEXT),
    strict("age", "sql.age", &[TS, TS], SqlType::INTERVAL),
    strict("age", "sql.age", &[TZ, TZ], SqlType::INTERVAL),
    strict("make_date", "sql.make_date", &[I, I, I], SqlType::DATE),
    strict("isfinite", "sql.true", &[TZ], BOOL),
    strict("timezone", "sql.to_utc", &[T, TS], SqlType::TIMESTAMPTZ),
    strict("timezone", "sql.from_utc", &[T, TZ], SqlType::TIMESTAMP),
    // JSON.
    maybe("jsonb_typeof", "sql.json_type", &[J], TEXT),
    maybe("json_typeof", "sql.json_type", &[J], TEXT),
    strict("jsonb_array_length", "sql.json_length", &[J], INT4),
    strict("json_array_length", "sql.json_length", &[J], INT4),
    many("jsonb_extract_path", "sql.json_path", &[J, T], JSONB, Nulls::Maybe),
    many("json_extract_path", "sql.json_path", &[J, T], JSONB, Nulls::Maybe),
    many("jsonb_extract_path_text", "sql.json_path_text", &[J, T], TEXT, Nulls::Maybe),
    many("json_extract_path_text", "sql.json_path_text", &[J, T], TEXT, Nulls::Maybe),
    many("jsonb_build_object", "sql.json_object", &[A], JSONB, Nulls::Never),
    many("json_build_object", "sql.json_object", &[A], SqlType::JSON, Nulls::Never),
    many("jsonb_build_array", "sql.json_array", &[A], JSONB, Nulls::Never),
    many("json_build_array", "sql.json_array", &[A], SqlType::JSON, Nulls::Never),
    strict("to_jsonb", "sql.to_json", &[A], JSONB),
    strict("to_json", "sql.to_json", &[A], SqlType::JSON),
    // Arrays.
    maybe("array_length", "sql.array_length", &[AR, I], INT4),
    maybe("array_upper", "sql.array_length", &[AR, I], INT4),
    maybe("array_lower", "sql.array_lower", &[AR, I], INT4),
    strict("cardinality", "sql.cardinality", &[AR], INT4),
    strict("array_to_string", "sql.array_to_string", &[AR, T], TEXT),
    strict("array_to_string", "sql.array_to_string", &[AR, T, T], TEXT),
    maybe("array_position", "sql.array_position", &[AR, A], INT4),
    strict("string_to_array", "sql.string_to_array", &[T, T], TEXTS),
    strict("array_cat", "sql.array_cat", &[AR, AR], TEXTS),
    strict("gen_random_uuid", "sql.uuid", &[], SqlType::UUID),
    // The catalogue: what nothing here has, and what everybody may.
    maybe("pg_get_expr", "sql.null", &[A, A], TEXT),
    maybe("pg_get_expr", "sql.null", &[A, A, BO], TEXT),
    maybe("pg_get_constraintdef", "sql.null", &[A], TEXT),
    maybe("pg_get_constraintdef", "sql.null", &[A, BO], TEXT),
    maybe("pg_get_indexdef", "sql.null", &[A], TEXT),
    maybe("pg_get_indexdef", "sql.null", &[A, I, BO], TEXT),
    maybe("pg_get_viewdef", "sql.null", &[A], TEXT),
    maybe("pg_get_viewdef", "sql.null", &[A, BO], TEXT),
    maybe("pg_get_serial_sequence", "sql.null", &[T, T], TEXT),
    maybe("pg_get_function_result", "sql.null", &[A], TEXT),
    maybe("pg_get_function_arguments", "sql.null", &[A], TEXT),
    maybe("pg_get_partkeydef", "sql.null", &[A], TEXT),
    maybe("pg_get_statisticsobjdef_columns", "sql.null", &[A], TEXT),
    maybe("obj_description", "sql.null", &[A], TEXT),
    maybe("obj_description", "sql.null", &[A, T], TEXT),
    maybe("shobj_description", "sql.null", &[A, T], TEXT),
    maybe("col_description", "sql.null", &[A, A], TEXT),
    maybe("pg_relation_size", "sql.null", &[A], SqlType::INT8),
    maybe("pg_total_relation_size", "sql.null", &[A], SqlType::INT8),
    maybe("pg_table_size", "sql.null", &[A], SqlType::INT8),
    maybe("pg_size_pretty", "sql.null", &[L], TEXT),
    maybe("pg_my_temp_schema", "sql.zero", &[], SqlType::OID),
    many("has_table_privilege", "sql.true", &[A], BOOL, Nulls::Never),
    many("has_schema_privilege", "sql.true", &[A], BOOL, Nulls::Never),
    many("has_database_privilege", "sql.true", &[A], BOOL, Nulls::Never),
    many("has_column_privilege", "sql.true", &[A], BOOL, Nulls::Never),
    many("has_any_column_privilege", "sql.true", &[A], BOOL, Nulls::Never),
    many("pg_has_role", "sql.true", &[A], BOOL, Nulls::Never),
    strict("pg_table_is_visible", "sql.true", &[A], BOOL),
    strict("pg_type_is_visible", "sql.true", &[A], BOOL),
    strict("pg_function_is_visible", "sql.true", &[A], BOOL),
    strict("pg_collation_is_visible", "sql.true", &[A], BOOL),
    strict("pg_opclass_is_visible", "sql.true", &[A], BOOL),
    strict("pg_relation_is_publishable", "sql.true", &[A], BOOL),
    strict("pg_is_other_temp_schema", "sql.false", &[A], BOOL),
    many("pg_is_in_recovery", "sql.false", &[], BOOL, Nulls::Never),
    strict("pg_encoding_to_char", "sql.utf8", &[I], SqlType::NAME),
];

/// The signatures of a name.
pub fn named(name: &str) -> impl Iterator<Item = &'static Signature> {
    SIGNATURES.iter().filter(move |signature| signature.name == name)
}

/// A function of the engine. Those of SQL are made when they are first asked for; there are as many as names here.
pub fn engine(name: &'static str) -> &'static Function {
    if !name.starts_with("sql.") {
        return functions::scalar(name).expect("a function of the engine");
    }
    static MADE: OnceLock<Mutex<HashMap<&'static str, &'static Function>>> = OnceLock::new();
    let mut made = MADE.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    made.entry(name).or_insert_with(|| {
        Box::leak(Box::new(Function {
            name,
            signatures: Vec::new(),
            naming: Naming::None,
            window: false,
            fields: Vec::new(),
        }))
    })
}

/// An aggregate of the engine, made in the same way.
pub fn aggregate(name: &'static str) -> &'static Aggregation {
    if !name.starts_with("sql.") {
        return functions::aggregate(name).expect("an aggregate of the engine");
    }
    static MADE: OnceLock<Mutex<HashMap<&'static str, &'static Aggregation>>> = OnceLock::new();
    let mut made = MADE.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    made.entry(name).or_insert_with(|| {
        Box::leak(Box::new(Aggregation {
            name,
            signatures: Vec::new(),
            naming: Naming::None,
            plain: name,
            condition: None,
        }))
    })
}
