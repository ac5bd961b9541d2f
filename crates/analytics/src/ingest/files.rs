//! Files of records: Parquet and Avro.

use gantry_formats::ReadError;
use gantry_kql::value::Dynamic;

use super::Fault;
use super::rows::Rows;

fn fault(error: ReadError<Fault>, code: &'static str) -> Fault {
    match error {
        ReadError::File(error) => Fault::new(code, error.to_string()),
        ReadError::Sink(fault) => fault,
    }
}

pub(super) fn parquet(bytes: &[u8], rows: &mut Rows) -> Result<(), Fault> {
    let mut number = 0;
    let mut sink = |record: Dynamic| {
        number += 1;
        rows.push_record(number, &record)
    };
    gantry_formats::read_parquet(bytes, &mut sink).map_err(|error| fault(error, "BadRequest_InvalidParquet"))
}

pub(super) fn avro(bytes: &[u8], rows: &mut Rows) -> Result<(), Fault> {
    let mut number = 0;
    let mut sink = |record: Dynamic| {
        number += 1;
        rows.push_record(number, &record)
    };
    gantry_formats::read_avro(bytes, &mut sink).map_err(|error| fault(error, "BadRequest_InvalidAvro"))
}
