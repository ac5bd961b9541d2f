//! The IoT hub: registry, twins, cloud-to-device messages, direct methods, telemetry.
