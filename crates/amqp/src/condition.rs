//! Error conditions (part 2, 2.8.15 to 2.8.18) and those of the services this library speaks for.

use crate::value::Symbol;

macro_rules! conditions {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        $($(#[$doc])* pub const $name: Symbol = Symbol::from_static($text);)*
    };
}

conditions! {
    /// The fault is ours.
    INTERNAL_ERROR = "amqp:internal-error";
    /// No such node.
    NOT_FOUND = "amqp:not-found";
    /// The peer may not do this.
    UNAUTHORIZED_ACCESS = "amqp:unauthorized-access";
    /// The peer sent bytes that cannot be decoded.
    DECODE_ERROR = "amqp:decode-error";
    /// A bound was reached.
    RESOURCE_LIMIT_EXCEEDED = "amqp:resource-limit-exceeded";
    /// Not in this state.
    NOT_ALLOWED = "amqp:not-allowed";
    /// A field has a value it must not have.
    INVALID_FIELD = "amqp:invalid-field";
    /// Not part of this server.
    NOT_IMPLEMENTED = "amqp:not-implemented";
    /// The node is gone.
    RESOURCE_DELETED = "amqp:resource-deleted";
    /// Frames that do not fit their surroundings.
    FRAMING_ERROR = "amqp:connection:framing-error";
    /// The server closes for its own reasons.
    CONNECTION_FORCED = "amqp:connection:forced";
    /// A transfer on a handle nobody attached.
    UNATTACHED_HANDLE = "amqp:session:unattached-handle";
    /// A handle attached twice.
    HANDLE_IN_USE = "amqp:session:handle-in-use";
    /// More transfers than the session's window.
    WINDOW_VIOLATION = "amqp:session:window-violation";
    /// The server ends the link for its own reasons.
    DETACH_FORCED = "amqp:link:detach-forced";
    /// More deliveries than credit.
    TRANSFER_LIMIT_EXCEEDED = "amqp:link:transfer-limit-exceeded";
    /// A message over the limit.
    MESSAGE_SIZE_EXCEEDED = "amqp:link:message-size-exceeded";
    /// The node lives elsewhere; the info map says where.
    LINK_REDIRECT = "amqp:link:redirect";
    /// Another receiver took the link.
    LINK_STOLEN = "amqp:link:stolen";
    /// No such entity in the event stream.
    ENTITY_NOT_FOUND = "com.microsoft:entity-not-found";
    /// A request argument is wrong.
    ARGUMENT_ERROR = "com.microsoft:argument-error";
    /// A request argument is outside its range.
    ARGUMENT_OUT_OF_RANGE = "com.microsoft:argument-out-of-range";
    /// Try again later.
    SERVER_BUSY = "com.microsoft:server-busy";
    /// The operation took too long.
    TIMEOUT = "com.microsoft:timeout";
}
