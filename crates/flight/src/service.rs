//! The service: commands of Flight SQL, each answered or refused by its name.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_server::FlightService;
use arrow_flight::sql::{
    ActionClosePreparedStatementRequest, ActionCreatePreparedStatementRequest, ActionCreatePreparedStatementResult,
    Any, Command, CommandPreparedStatementQuery, DoPutPreparedStatementResult, ProstMessageExt as _,
    TicketStatementQuery,
};
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightEndpoint, FlightInfo, HandshakeRequest,
    HandshakeResponse, IpcMessage, PollInfo, PutResult, Result as ActionResult, SchemaAsIpc, SchemaResult, Ticket,
};
use arrow_ipc::writer::IpcWriteOptions;
use arrow_schema::{Schema, SchemaRef};
use bytes::Bytes;
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use gantry_analytics::calendar::UNIX_EPOCH;
use gantry_analytics::{Ask, By, Cancel, Chunk, Error, Flow, Limits, Rejected, Run, Warehouse};
use gantry_api::Caller;
use prost::Message as _;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tonic::{Request, Response, Status, Streaming};

use crate::catalog;
use crate::columns::{Shape, Unit, outputs, schema};
use crate::prepared::Statements;
use crate::statement::{Bind, Described, Statement, values};

/// Queries that run at once; each has a thread of its own.
const QUERIES_MAX: usize = 8;
/// Queries that wait for their turn; more are told to come again.
const WAITING_MAX: usize = 64;
/// Batches that are ready before a client takes them.
const BATCHES_AHEAD: usize = 2;
/// How long a client may take nothing of a result.
const STALL_MAX: Duration = Duration::from_secs(60);
/// How long a result may take: it is as large as its reader wants it, so this is longer than elsewhere.
const SECONDS_MAX: u64 = 3_600;
/// Rows of values bound to one statement: it runs once for each.
const PARAMETER_ROWS_MAX: usize = 1_000;
/// Bytes of them.
const PARAMETER_BYTES_MAX: usize = 8 << 20;

const CREATE_PREPARED: &str = "CreatePreparedStatement";
const CLOSE_PREPARED: &str = "ClosePreparedStatement";

type Streamed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Arrow Flight SQL over the tables.
pub struct Service {
    warehouse: Arc<Warehouse>,
    statements: Statements,
    running: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

/// Stops a query when whoever takes its rows is gone.
struct CancelOnDrop(Cancel);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl Service {
    /// A service over these tables.
    pub fn new(warehouse: Arc<Warehouse>) -> Service {
        Service {
            warehouse,
            statements: Statements::default(),
            running: Arc::new(Semaphore::new(QUERIES_MAX)),
            waiting: Arc::new(Semaphore::new(WAITING_MAX)),
        }
    }

    async fn turn(&self) -> Result<OwnedSemaphorePermit, Status> {
        let busy = || Status::resource_exhausted("too many queries run at once; try again");
        let _waits = self.waiting.clone().try_acquire_owned().map_err(|_| busy())?;
        self.running.clone().acquire_owned().await.map_err(|_| busy())
    }

    /// Works on a thread that may wait, when it is its turn.
    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Warehouse) -> Result<T, Status> + Send + 'static,
    ) -> Result<T, Status> {
        let turn = self.turn().await?;
        let warehouse = Arc::clone(&self.warehouse);
        let work = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work(&warehouse)
        });
        work.await.unwrap_or_else(|error| {
            tracing::error!(%error, "a request ended without an answer");
            Err(Status::internal("the request ended without an answer; the log says why"))
        })
    }

    /// What is known of a statement; nothing of a command, before it ran.
    async fn describe(&self, statement: Statement) -> Result<Option<Described>, Status> {
        if statement.is_command() {
            return Ok(None);
        }
        let describe = move |warehouse: &Warehouse| Bind::new(&statement, None).describe(warehouse, now());
        self.work(move |warehouse| describe(warehouse).map(Some).map_err(refused)).await
    }

    /// The rows of a statement, once for each row of values, as a stream of batches that waits for its reader.
    async fn rows(
        &self,
        statement: Statement,
        parameters: Vec<Vec<gantry_kql::value::Value>>,
        by: By,
    ) -> Result<Streamed<FlightData>, Status> {
        if statement.is_command() {
            let batches = self.work(move |warehouse| command(warehouse, &statement)).await?;
            return Ok(encoded(batches.0, stream::iter(batches.1.into_iter().map(Ok)).boxed()));
        }
        let turn = self.turn().await?;
        let (sender, receiver) = mpsc::channel::<Result<RecordBatch, FlightError>>(BATCHES_AHEAD);
        let (told, hear) = tokio::sync::oneshot::channel();
        let cancel = Cancel::default();
        let (warehouse, handle, run) = (
            Arc::clone(&self.warehouse),
            Handle::current(),
            Run {
                now: now(),
                limits: Limits { rows_max: None, bytes_max: None, seconds_max: SECONDS_MAX, ..Limits::default() },
                cancel: cancel.clone(),
                by,
            },
        );
        tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let none = [Vec::new()];
            let parameters = if parameters.is_empty() { &none[..] } else { &parameters };
            let shape = match Bind::new(&statement, Some(&parameters[0])).describe(&warehouse, run.now) {
                Ok(described) => described.shape,
                Err(rejected) => return drop(told.send(Err(refused(rejected)))),
            };
            if told.send(Ok(Arc::clone(&shape.schema))).is_err() {
                return;
            }
            for values in parameters {
                let send = |batch| {
                    let sent = handle.block_on(async { tokio::time::timeout(STALL_MAX, sender.send(batch)).await });
                    matches!(sent, Ok(Ok(())))
                };
                let mut failed = None;
                let ran =
                    warehouse.each_chunk(&Bind::new(&statement, Some(values)), &run, &mut |chunk: Chunk| match shape
                        .batches(&chunk)
                    {
                        Ok(batches) => {
                            let all = batches.into_iter().all(|batch| send(Ok(batch)));
                            if all { Ok(Flow::More) } else { Err(Error::Cancelled) }
                        }
                        Err(error) => {
                            failed = Some(Status::out_of_range(error.to_string()));
                            Ok(Flow::Enough)
                        }
                    });
                if let Some(status) = failed.or_else(|| ran.err().map(refused)) {
                    send(Err(FlightError::from(status)));
                    return;
                }
            }
        });
        let schema = hear.await.map_err(|_| Status::internal("the query ended without an answer"))??;
        let guard = CancelOnDrop(cancel);
        let batches = stream::unfold((receiver, guard), |(mut receiver, guard)| async move {
            receiver.recv().await.map(|batch| (batch, (receiver, guard)))
        });
        Ok(encoded(schema, batches.boxed()))
    }

    /// What a command answers that tells of the service or its tables.
    async fn told(&self, command: Command) -> Result<RecordBatch, Status> {
        self.work(move |warehouse| {
            let batch = match command {
                Command::CommandGetCatalogs(command) => catalog::catalogs(command, warehouse),
                Command::CommandGetDbSchemas(command) => catalog::schemas(command, warehouse),
                Command::CommandGetTables(command) => catalog::tables(command, warehouse),
                Command::CommandGetTableTypes(command) => catalog::table_types(command),
                Command::CommandGetSqlInfo(command) => command.into_builder(&catalog::INFO).build(),
                Command::CommandGetXdbcTypeInfo(command) => command.into_builder(&catalog::TYPES).build(),
                Command::CommandGetPrimaryKeys(command) => catalog::primary_keys(&command, warehouse),
                Command::CommandGetImportedKeys(_)
                | Command::CommandGetExportedKeys(_)
                | Command::CommandGetCrossReference(_) => catalog::foreign_keys(),
                other => return Err(unimplemented(other.type_url())),
            };
            batch.map_err(Status::from)
        })
        .await
    }

    /// Where the rows of a command are, and their columns.
    async fn info(
        &self,
        descriptor: &FlightDescriptor,
        headers: &tonic::metadata::MetadataMap,
    ) -> Result<(Option<SchemaRef>, Bytes), Status> {
        match command_of(&descriptor.cmd)? {
            Command::CommandStatementQuery(query) => {
                if query.transaction_id.is_some_and(|id| !id.is_empty()) {
                    return Err(Status::unimplemented("transactions are not implemented"));
                }
                let statement = Statement::new(query.query, headers)?;
                let ticket = TicketStatementQuery { statement_handle: statement.ticket().into() };
                Ok((schema_of(self.describe(statement).await?), ticket.as_any().encode_to_vec().into()))
            }
            Command::CommandPreparedStatementQuery(query) => {
                let prepared = self.statements.get(&query.prepared_statement_handle)?;
                Ok((schema_of(self.describe(prepared.statement).await?), query.as_any().encode_to_vec().into()))
            }
            command => {
                let ticket = command.clone().into_any().encode_to_vec().into();
                Ok((Some(self.told(command).await?.schema()), ticket))
            }
        }
    }
}

fn schema_of(described: Option<Described>) -> Option<SchemaRef> {
    described.map(|described| described.shape.schema)
}

/// The answer to a management command, which is small.
fn command(warehouse: &Warehouse, statement: &Statement) -> Result<(SchemaRef, Vec<RecordBatch>), Status> {
    let shows = statement.text.trim_start().get(..5).is_some_and(|word| word.eq_ignore_ascii_case(".show"));
    if !shows {
        return Err(Status::unimplemented("management commands but .show are not implemented over Flight"));
    }
    let ask = Ask {
        database: None,
        text: &statement.text,
        parameters: &[],
        now: now(),
        limits: &|_| Limits::default(),
        rows_wanted: None,
        cancel: Cancel::default(),
        by: By::default(),
    };
    let tables = warehouse.command(&ask).map_err(refused)?;
    let table = tables.first().ok_or_else(|| Status::internal("the command has no result"))?;
    if let Some(error) = &table.failure {
        return Err(refused(Rejected::Run(error.clone())));
    }
    let shape = Shape::new(outputs(&table.schema.columns), statement.unit);
    let mut made = Vec::new();
    for chunk in &table.chunks {
        made.extend(shape.batches(chunk).map_err(|error| Status::out_of_range(error.to_string()))?);
    }
    Ok((shape.schema, made))
}

fn now() -> i64 {
    UNIX_EPOCH + gantry_api::now().as_millis() * 10_000
}

fn encoded(
    schema: SchemaRef,
    batches: Pin<Box<dyn Stream<Item = Result<RecordBatch, FlightError>> + Send>>,
) -> Streamed<FlightData> {
    FlightDataEncoderBuilder::new().with_schema(schema).build(batches).map_err(Status::from).boxed()
}

/// Why a question has no answer.
fn refused(rejected: Rejected) -> Status {
    match rejected {
        Rejected::Text { code, line, column, message } => {
            Status::invalid_argument(format!("{code}: {message} [line:position={line}:{column}]"))
        }
        Rejected::Database(name) => Status::not_found(format!("there is no database `{name}`")),
        Rejected::NotFound { .. } => Status::not_found(rejected.to_string()),
        Rejected::Exists { .. } => Status::already_exists(rejected.to_string()),
        Rejected::Wrong(message) => Status::failed_precondition(message),
        Rejected::Forbidden(message) => Status::permission_denied(message),
        Rejected::NotImplemented(what) => Status::unimplemented(format!("{what} is not implemented")),
        Rejected::Run(error) => {
            let message = error.to_string();
            match error {
                Error::NotImplemented(_) => Status::unimplemented(message),
                Error::Timeout(_) => Status::deadline_exceeded(message),
                Error::Cancelled => Status::cancelled(message),
                Error::Forbidden { .. } => Status::permission_denied(message),
                Error::Memory { .. } | Error::TooManyRows { .. } | Error::Rows(_) | Error::Size(_) => {
                    Status::resource_exhausted(message)
                }
                Error::Table { .. } => {
                    tracing::warn!(%message, "a table could not be read");
                    Status::unavailable(message)
                }
                Error::Evaluation(_) | Error::Sql { .. } => Status::invalid_argument(message),
            }
        }
    }
}

fn unimplemented(url: &str) -> Status {
    let name = url.rsplit(['.', '/']).next().unwrap_or(url);
    Status::unimplemented(format!("{name} is not implemented"))
}

fn command_of(bytes: &[u8]) -> Result<Command, Status> {
    let wrong = |error: &dyn std::fmt::Display| Status::invalid_argument(format!("this is no command: {error}"));
    let any = Any::decode(bytes).map_err(|error| wrong(&error))?;
    Command::try_from(any).map_err(|error| wrong(&error))
}

fn ipc(schema: &Schema) -> Result<Bytes, Status> {
    let message: Result<IpcMessage, _> = SchemaAsIpc::new(schema, &IpcWriteOptions::default()).try_into();
    let IpcMessage(bytes) = message.map_err(|error: arrow_schema::ArrowError| Status::internal(error.to_string()))?;
    Ok(bytes)
}

fn streamed<T: Send + 'static>(items: Vec<T>) -> Response<Streamed<T>> {
    Response::new(stream::iter(items.into_iter().map(Ok)).boxed())
}

#[tonic::async_trait]
impl FlightService for Service {
    type HandshakeStream = Streamed<HandshakeResponse>;
    type ListFlightsStream = Streamed<FlightInfo>;
    type DoGetStream = Streamed<FlightData>;
    type DoPutStream = Streamed<PutResult>;
    type DoActionStream = Streamed<ActionResult>;
    type ListActionsStream = Streamed<ActionType>;
    type DoExchangeStream = Streamed<FlightData>;

    /// Whoever comes here has proven who it is; it gets a token for the calls that follow.
    async fn handshake(
        &self,
        request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        let token = request.metadata().get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let token = token.strip_prefix("Bearer ").unwrap_or(token).to_owned();
        let bearer = format!("Bearer {token}").parse().map_err(|_| Status::internal("the token is no header"))?;
        let mut answer = streamed(vec![HandshakeResponse { protocol_version: 0, payload: token.into() }]);
        answer.metadata_mut().insert("authorization", bearer);
        Ok(answer)
    }

    async fn list_flights(&self, _: Request<Criteria>) -> Result<Response<Self::ListFlightsStream>, Status> {
        Err(unimplemented("ListFlights"))
    }

    async fn get_flight_info(&self, request: Request<FlightDescriptor>) -> Result<Response<FlightInfo>, Status> {
        let (headers, _, descriptor) = request.into_parts();
        let (schema, ticket) = self.info(&descriptor, &headers).await?;
        let endpoint = FlightEndpoint::new().with_ticket(Ticket { ticket });
        let mut info = FlightInfo::new().with_endpoint(endpoint).with_descriptor(descriptor);
        if let Some(schema) = schema {
            info.schema = ipc(&schema)?;
        }
        Ok(Response::new(info))
    }

    async fn poll_flight_info(&self, _: Request<FlightDescriptor>) -> Result<Response<PollInfo>, Status> {
        Err(unimplemented("PollFlightInfo"))
    }

    async fn get_schema(&self, request: Request<FlightDescriptor>) -> Result<Response<SchemaResult>, Status> {
        let (headers, _, descriptor) = request.into_parts();
        let (schema, _) = self.info(&descriptor, &headers).await?;
        let none = || Status::unimplemented("the schema of a management command is not implemented");
        Ok(Response::new(SchemaResult { schema: ipc(&*schema.ok_or_else(none)?)? }))
    }

    async fn do_get(&self, request: Request<Ticket>) -> Result<Response<Self::DoGetStream>, Status> {
        // The guard leaves who asks with the request.
        let caller = request.extensions().get::<Caller>().ok_or_else(|| Status::internal("nobody was let in"))?;
        let by = By { principal: caller.principal(), ..By::default() };
        let rows = match command_of(&request.get_ref().ticket)? {
            Command::TicketStatementQuery(ticket) => {
                self.rows(Statement::of_ticket(&ticket.statement_handle)?, Vec::new(), by).await?
            }
            Command::CommandPreparedStatementQuery(query) => {
                let prepared = self.statements.get(&query.prepared_statement_handle)?;
                self.rows(prepared.statement, prepared.rows, by).await?
            }
            command => {
                let batch = self.told(command).await?;
                encoded(batch.schema(), stream::iter([Ok(batch)]).boxed())
            }
        };
        Ok(Response::new(rows))
    }

    /// Takes values for the parameters of a prepared statement; nothing else is written here.
    async fn do_put(&self, request: Request<Streaming<FlightData>>) -> Result<Response<Self::DoPutStream>, Status> {
        let mut data = request.into_inner();
        let first = data.message().await?.ok_or_else(|| Status::invalid_argument("an empty stream"))?;
        let descriptor = first.flight_descriptor.as_ref();
        let command = command_of(&descriptor.ok_or_else(|| Status::invalid_argument("no descriptor"))?.cmd)?;
        let Command::CommandPreparedStatementQuery(CommandPreparedStatementQuery { prepared_statement_handle: handle }) =
            command
        else {
            return Err(unimplemented(command.type_url()));
        };
        let all = stream::once(async { Ok(first) }).chain(data.map_err(FlightError::from));
        let mut decoded = FlightRecordBatchStream::new_from_flight_data(all);
        let (mut rows, mut bytes) = (Vec::new(), 0);
        while let Some(batch) = decoded.next().await {
            let batch = batch.map_err(Status::from)?;
            bytes += batch.get_array_memory_size();
            if rows.len() + batch.num_rows() > PARAMETER_ROWS_MAX || bytes > PARAMETER_BYTES_MAX {
                let message = format!("at most {PARAMETER_ROWS_MAX} rows and {PARAMETER_BYTES_MAX} bytes of values");
                return Err(Status::resource_exhausted(message));
            }
            rows.extend(values(&batch)?);
        }
        self.statements.bind(&handle, rows, bytes)?;
        let result = DoPutPreparedStatementResult { prepared_statement_handle: Some(handle) };
        Ok(streamed(vec![PutResult { app_metadata: result.encode_to_vec().into() }]))
    }

    async fn do_action(&self, request: Request<Action>) -> Result<Response<Self::DoActionStream>, Status> {
        let (headers, _, action) = request.into_parts();
        let any = |bytes: &[u8]| Any::decode(bytes).map_err(|error| Status::invalid_argument(error.to_string()));
        let wrong = || Status::invalid_argument(format!("the body does not fit the action {}", action.r#type));
        match action.r#type.as_str() {
            CREATE_PREPARED => {
                let asked: ActionCreatePreparedStatementRequest =
                    any(&action.body)?.unpack().ok().flatten().ok_or_else(wrong)?;
                if asked.transaction_id.is_some_and(|id| !id.is_empty()) {
                    return Err(Status::unimplemented("transactions are not implemented"));
                }
                let statement = Statement::new(asked.query, &headers)?;
                let described = self.describe(statement.clone()).await?;
                let parameters = described.as_ref().map_or(&[][..], |described| described.parameters.as_slice());
                let result = ActionCreatePreparedStatementResult {
                    prepared_statement_handle: self.statements.open(statement)?.into(),
                    parameter_schema: ipc(&schema(parameters, Unit::Microseconds))?,
                    dataset_schema: match &described {
                        Some(described) => ipc(&described.shape.schema)?,
                        None => Bytes::new(),
                    },
                };
                Ok(streamed(vec![ActionResult { body: result.as_any().encode_to_vec().into() }]))
            }
            CLOSE_PREPARED => {
                let asked: ActionClosePreparedStatementRequest =
                    any(&action.body)?.unpack().ok().flatten().ok_or_else(wrong)?;
                self.statements.close(&asked.prepared_statement_handle);
                Ok(streamed(vec![]))
            }
            other => Err(Status::unimplemented(format!("the action {other} is not implemented"))),
        }
    }

    async fn list_actions(&self, _: Request<Empty>) -> Result<Response<Self::ListActionsStream>, Status> {
        let action = |(name, about): (&str, &str)| ActionType { r#type: name.into(), description: about.into() };
        let actions = [
            (CREATE_PREPARED, "Prepares a statement: its handle, the columns of its result and of its parameters."),
            (CLOSE_PREPARED, "Forgets a prepared statement."),
        ];
        Ok(streamed(actions.map(action).into()))
    }

    async fn do_exchange(&self, _: Request<Streaming<FlightData>>) -> Result<Response<Self::DoExchangeStream>, Status> {
        Err(unimplemented("DoExchange"))
    }
}
