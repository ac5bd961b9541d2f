//! Rows of what a process itself answers: its health, and ways in for other protocols. The handlers are its own.

use axum::http::Method;

use crate::operation::{Access, Head, Operation};

fn row(method: Option<Method>, path: &str, id: &'static str, access: Access, about: &'static str) -> Operation {
    Operation::new(Head::Process, method, path, id, access, about)
}

/// Whether the process is there.
pub fn health() -> Operation {
    let about = "200 while the process runs; a line for what does not work meanwhile.";
    row(Some(Method::GET), "/healthz", "Process_Health", Access::Anyone, about)
}

/// Whether it takes work.
pub fn ready() -> Operation {
    row(Some(Method::GET), "/readyz", "Process_Ready", Access::Anyone, "200 once it takes connections.")
}

/// Its counters.
pub fn metrics() -> Operation {
    let about = "Counters and gauges in Prometheus' text format.";
    row(Some(Method::GET), "/metrics", "Process_Metrics", Access::Anyone, about)
}

/// MQTT and AMQP of devices and services.
pub fn hub_socket() -> Operation {
    let proof = Access::Proof("what the protocol within asks for");
    let about = "A WebSocket with MQTT (`mqtt`) or AMQP (`AMQPWSB10`).";
    row(None, "/$iothub/websocket", "Process_HubWebSocket", proof, about)
}

/// AMQP of consumers of the event stream.
pub fn stream_socket() -> Operation {
    let proof = Access::Proof("what the protocol within asks for");
    row(None, "/$servicebus/websocket", "Process_StreamWebSocket", proof, "The same, where Event Hubs clients look.")
}

/// An end of a device stream.
pub fn bridge() -> Operation {
    let proof = Access::Proof("the token of one end of the stream, as `Bearer`");
    row(None, "/bridges/{id}", "Process_Bridge", proof, "A WebSocket with one end of a device stream.")
}

/// gRPC of Arrow Flight SQL.
pub fn flight() -> Operation {
    let proof = Access::Proof("DevicesRead: a policy's token as `Bearer`, or its name and key as `Basic`");
    let about = "Arrow Flight SQL over the tables: gRPC, when the process has it.";
    row(Some(Method::POST), "/arrow.flight.protocol.FlightService/{*method}", "Process_FlightSql", proof, about)
}

/// All of them.
pub fn operations() -> [Operation; 7] {
    [hub_socket(), stream_socket(), bridge(), health(), ready(), metrics(), flight()]
}
