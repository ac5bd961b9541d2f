//! Arrow Flight SQL over the tables: for programs that take columns (ADBC, pandas, DuckDB, Spark).
//!
//! One gRPC service behind the guard that every other head has: a call brings a policy's token as `Bearer`, or its name
//! and key as `Basic`. Statements are KQL by the header `x-query-language: kql`; results stream as their reader
//! takes them and are held nowhere. The crate stands alone because Arrow weighs: who needs it is the binary.

mod catalog;
mod columns;
mod prepared;
mod service;
mod statement;

use std::io;
use std::sync::Arc;

use arrow_flight::flight_service_server::FlightServiceServer;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::ArrowError;
use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use gantry_analytics::{Warehouse, small_table};
use gantry_api::{Api, PeerAddress, Permissions, Refused, admit_program};
use gantry_kql::bound::Column;
use gantry_kql::value::Value;
use tonic::Status;

use columns::{Shape, Unit, outputs};
use service::Service;

/// Bytes of one message of a client: a text, or values for its parameters.
const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// The service. Requests must carry a [`PeerAddress`] extension.
pub fn router(api: Arc<Api>, warehouse: Arc<Warehouse>) -> Router {
    let service = FlightServiceServer::new(Service::new(warehouse)).max_decoding_message_size(MESSAGE_BYTES_MAX);
    Router::new().fallback_service(service).layer(from_fn_with_state(api, admit))
}

/// Writes rows as a stream of Arrow IPC: times in nanoseconds, or in microseconds where those do not reach.
///
/// # Errors
/// When a value is beyond its type, or nothing can be written.
pub fn write(columns: &[Column], rows: Vec<Vec<Value>>, out: &mut dyn io::Write) -> io::Result<()> {
    let named: Vec<_> = columns.iter().map(|column| (&*column.name, column.ty)).collect();
    let chunks = small_table(&named, rows).chunks;
    let made = |unit| {
        let shape = Shape::new(outputs(columns), unit);
        let batches = chunks.iter().map(|chunk| shape.batches(chunk)).collect::<Result<Vec<_>, _>>()?;
        Ok::<_, ArrowError>((shape.schema, batches.concat()))
    };
    let (schema, batches) = made(Unit::Nanoseconds).or_else(|_| made(Unit::Microseconds)).map_err(io::Error::other)?;
    let mut writer = StreamWriter::try_new(out, &schema).map_err(io::Error::other)?;
    for batch in &batches {
        writer.write(batch).map_err(io::Error::other)?;
    }
    writer.finish().map_err(io::Error::other)
}

/// Lets a call through that comes from somebody who may see devices.
async fn admit(State(api): State<Arc<Api>>, mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<PeerAddress>().cloned().unwrap_or("unknown".into());
    match admit_program(&api, request.headers_mut(), &peer, Permissions::DEVICES_READ) {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(refused) => {
            let message = refused.to_string();
            let status = match refused {
                Refused::Unauthorized => Status::unauthenticated(message),
                Refused::Forbidden(_) => Status::permission_denied(message),
                _ => Status::unavailable(message),
            };
            status.into_http::<axum::body::Body>().into_response()
        }
    }
}
