//! The device side: TLS, MQTT and MQTT over WebSocket.
