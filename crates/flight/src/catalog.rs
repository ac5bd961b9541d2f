//! What the service tells of itself and of its tables.

use std::sync::{Arc, LazyLock};

use arrow_array::builder::{Int32Builder, StringBuilder};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_flight::error::FlightError;
use arrow_flight::sql::metadata::{
    SqlInfoData, SqlInfoDataBuilder, XdbcTypeInfo, XdbcTypeInfoData, XdbcTypeInfoDataBuilder,
};
use arrow_flight::sql::{
    CommandGetCatalogs, CommandGetDbSchemas, CommandGetPrimaryKeys, CommandGetTableTypes, CommandGetTables, Nullable,
    Searchable, SqlInfo, SqlSupportedCaseSensitivity, SqlSupportedTransaction, XdbcDataType,
};
use arrow_schema::{DataType, Field, Schema};
use gantry_analytics::Warehouse;

use crate::columns::{Unit, schema};

/// The schema that tables are in.
pub const SCHEMA: &str = "public";
/// The kind of all of them.
const TABLE: &str = "TABLE";

type Result<T> = std::result::Result<T, FlightError>;

/// The databases.
pub fn catalogs(command: CommandGetCatalogs, warehouse: &Warehouse) -> Result<RecordBatch> {
    let mut builder = command.into_builder();
    builder.append(warehouse.database());
    builder.build()
}

/// The schemas.
pub fn schemas(command: CommandGetDbSchemas, warehouse: &Warehouse) -> Result<RecordBatch> {
    let mut builder = command.into_builder();
    builder.append(warehouse.database(), SCHEMA);
    builder.build()
}

/// The kinds of tables.
pub fn table_types(command: CommandGetTableTypes) -> Result<RecordBatch> {
    let mut builder = command.into_builder();
    builder.append(TABLE);
    builder.build()
}

/// The tables, with their columns when asked for.
pub fn tables(command: CommandGetTables, warehouse: &Warehouse) -> Result<RecordBatch> {
    let mut builder = command.into_builder();
    for (name, source) in warehouse.sources() {
        let columns = if builder.include_schema() {
            source.columns().map_err(|error| FlightError::from_external_error(Box::new(error)))?
        } else {
            Vec::new()
        };
        builder.append(warehouse.database(), SCHEMA, name, TABLE, &schema(&columns, Unit::Nanoseconds))?;
    }
    builder.build()
}

/// The columns by which rows of a table are told apart.
pub fn primary_keys(command: &CommandGetPrimaryKeys, warehouse: &Warehouse) -> Result<RecordBatch> {
    let fits = |asked: &Option<String>, is: &str| asked.as_deref().is_none_or(|asked| asked == is);
    let known = fits(&command.catalog, warehouse.database()) && fits(&command.db_schema, SCHEMA);
    let source = warehouse.sources().find(|(name, _)| known && *name == command.table);
    let key = source.map_or(&[][..], |(_, source)| source.key());
    let text = |value: Option<&str>| -> ArrayRef {
        let mut builder = StringBuilder::new();
        key.iter().for_each(|column| builder.append_option(value.or(Some(column))));
        Arc::new(builder.finish())
    };
    let mut places = Int32Builder::new();
    (1..).zip(key).for_each(|(place, _)| places.append_value(place));
    let mut names = StringBuilder::new();
    key.iter().for_each(|_| names.append_null());
    let arrays: Vec<ArrayRef> = vec![
        text(Some(warehouse.database())),
        text(Some(SCHEMA)),
        text(Some(&command.table)),
        text(None),
        Arc::new(places.finish()),
        Arc::new(names.finish()),
    ];
    Ok(RecordBatch::try_new(Arc::new(primary_keys_schema()), arrays)?)
}

fn primary_keys_schema() -> Schema {
    Schema::new(vec![
        Field::new("catalog_name", DataType::Utf8, true),
        Field::new("db_schema_name", DataType::Utf8, true),
        Field::new("table_name", DataType::Utf8, false),
        Field::new("column_name", DataType::Utf8, false),
        Field::new("key_sequence", DataType::Int32, false),
        Field::new("key_name", DataType::Utf8, true),
    ])
}

/// Keys of one table in another: there are none.
pub fn foreign_keys() -> Result<RecordBatch> {
    let text = |name: &str, nullable| Field::new(name, DataType::Utf8, nullable);
    let rule = |name: &str| Field::new(name, DataType::UInt8, false);
    let schema = Arc::new(Schema::new(vec![
        text("pk_catalog_name", true),
        text("pk_db_schema_name", true),
        text("pk_table_name", false),
        text("pk_column_name", false),
        text("fk_catalog_name", true),
        text("fk_db_schema_name", true),
        text("fk_table_name", false),
        text("fk_column_name", false),
        Field::new("key_sequence", DataType::Int32, false),
        text("fk_key_name", true),
        text("pk_key_name", true),
        rule("update_rule"),
        rule("delete_rule"),
    ]));
    Ok(RecordBatch::new_empty(schema))
}

/// What the service is and can do.
pub static INFO: LazyLock<SqlInfoData> = LazyLock::new(|| {
    let mut info = SqlInfoDataBuilder::new();
    info.append(SqlInfo::FlightSqlServerName, "Gantry");
    info.append(SqlInfo::FlightSqlServerVersion, env!("CARGO_PKG_VERSION"));
    info.append(SqlInfo::FlightSqlServerArrowVersion, "1.3");
    info.append(SqlInfo::FlightSqlServerReadOnly, true);
    info.append(SqlInfo::FlightSqlServerSql, false);
    info.append(SqlInfo::FlightSqlServerSubstrait, false);
    info.append(SqlInfo::FlightSqlServerTransaction, SqlSupportedTransaction::None as i32);
    info.append(SqlInfo::FlightSqlServerCancel, false);
    info.append(SqlInfo::FlightSqlServerBulkIngestion, false);
    info.append(SqlInfo::FlightSqlServerStatementTimeout, 0_i32);
    info.append(SqlInfo::FlightSqlServerTransactionTimeout, 0_i32);
    info.append(SqlInfo::SqlDdlCatalog, false);
    info.append(SqlInfo::SqlDdlSchema, false);
    info.append(SqlInfo::SqlDdlTable, false);
    info.append(SqlInfo::SqlIdentifierCase, SqlSupportedCaseSensitivity::SqlCaseSensitivityLowercase as i32);
    info.append(SqlInfo::SqlIdentifierQuoteChar, "\"");
    info.append(
        SqlInfo::SqlQuotedIdentifierCase,
        SqlSupportedCaseSensitivity::SqlCaseSensitivityCaseInsensitive as i32,
    );
    info.append(SqlInfo::SqlAllTablesAreSelectable, true);
    info.append(SqlInfo::SqlSchemaTerm, "schema");
    info.append(SqlInfo::SqlCatalogTerm, "database");
    info.append(SqlInfo::SqlTransactionsSupported, false);
    info.build().expect("the values have the types of the protocol")
});

/// The types of values.
pub static TYPES: LazyLock<XdbcTypeInfoData> = LazyLock::new(|| {
    let mut types = XdbcTypeInfoDataBuilder::new();
    for (name, data_type, size, quoted) in [
        ("boolean", XdbcDataType::XdbcBit, 1, false),
        ("integer", XdbcDataType::XdbcInteger, 10, false),
        ("bigint", XdbcDataType::XdbcBigint, 19, false),
        ("double precision", XdbcDataType::XdbcDouble, 53, false),
        ("numeric", XdbcDataType::XdbcDecimal, 38, false),
        ("text", XdbcDataType::XdbcVarchar, i32::MAX, true),
        ("timestamp with time zone", XdbcDataType::XdbcTimestamp, 33, true),
        ("interval", XdbcDataType::XdbcInterval, 26, true),
        ("uuid", XdbcDataType::XdbcChar, 36, true),
        ("jsonb", XdbcDataType::XdbcLongvarchar, i32::MAX, true),
    ] {
        let quote = quoted.then(|| "'".to_owned());
        types.append(XdbcTypeInfo {
            type_name: name.into(),
            data_type,
            column_size: Some(size),
            literal_prefix: quote.clone(),
            literal_suffix: quote,
            nullable: if name == "text" { Nullable::NullabilityNoNulls } else { Nullable::NullabilityNullable },
            case_sensitive: name == "text",
            searchable: Searchable::Full,
            sql_data_type: data_type,
            ..XdbcTypeInfo::default()
        });
    }
    types.build().expect("the types have the shape of the protocol")
});
