//! MQTT 3.1.1 packets: decode and encode, without sockets, clock or devices.
