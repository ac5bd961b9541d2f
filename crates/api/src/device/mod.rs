//! Devices over HTTPS: telemetry in, cloud-to-device messages out, files begun; and services that send messages.
//!
//! A call proves itself like a connection does, by token or certificate.

mod c2d;
pub(crate) mod lock;
mod send;
mod telemetry;

use std::sync::Arc;

use axum::http::Method;
use gantry_hub::throttle::Operation as Throttle;
use gantry_identity::Rights;

use crate::Api;
use crate::fields;
use crate::hub::files;
use crate::operation::{Access, Body, Head, Operation, Parameter};
use crate::routes::Routes;

const LOCK_TIMEOUT: &[Parameter] =
    &[Parameter { name: c2d::LOCK_TIMEOUT, about: "Seconds to work on the message, 5 to 300; a header too." }];

pub(crate) fn routes() -> Routes<Arc<Api>> {
    let row = |method, path, id, about| Operation::new(Head::Device, method, path, id, Access::Device, about);
    // The one call here that a service makes; of released clients only Azure IoT Explorer does.
    let send = Operation::new(
        Head::Service,
        Method::POST,
        "/devices/{id}/messages/devicebound",
        "CloudToDeviceMessages_Send",
        Access::Hub(Rights::SERVICE_CONNECT),
        "Sends the device a message; its properties are headers that begin with `iothub-`.",
    );
    Routes::new()
        .on(send.throttled(Throttle::SendC2d).reads(Body::Bytes), send::post)
        .on(
            row(
                Method::POST,
                "/devices/{id}/messages/events",
                "Device_SendDeviceEvent",
                "Takes an event, with its properties in headers that begin with `iothub-`; or a batch, as an array, with \
                 the content type `application/vnd.microsoft.iothub.json`.",
            )
            .throttled(Throttle::Telemetry)
            .reads(Body::Bytes),
            telemetry::post,
        )
        .on(
            row(
                Method::GET,
                "/devices/{id}/messages/devicebound",
                "Device_ReceiveDeviceBoundNotification",
                "The next message, locked under the token in `ETag`; 204 when there is none.",
            )
            .throttled(Throttle::ReceiveC2d)
            .query(LOCK_TIMEOUT),
            c2d::get,
        )
        .on(
            row(
                Method::DELETE,
                "/devices/{id}/messages/devicebound/{lock}",
                "Device_CompleteDeviceBoundNotification",
                "Completes a locked message, or rejects it.",
            )
            .query(lock::REJECT),
            lock::delete,
        )
        .on(
            row(
                Method::POST,
                "/devices/{id}/messages/devicebound/{lock}/abandon",
                "Device_AbandonDeviceBoundNotification",
                "Gives a locked message back.",
            ),
            lock::abandon,
        )
        .on(
            row(
                Method::POST,
                "/devices/{id}/files",
                "Device_CreateFileUploadSasUri",
                "Begins the upload of a file: where it is to be put, with a signature for that.",
            )
            .throttled(Throttle::FileUpload)
            .takes(&fields::UPLOAD_BEGUN),
            files::begin,
        )
        .on(
            row(
                Method::POST,
                "/devices/{id}/files/notifications",
                "Device_UpdateFileUploadStatus",
                "Says how an upload ended.",
            )
            .takes(&fields::UPLOAD_ENDED),
            files::complete,
        )
        .on(
            row(
                Method::POST,
                "/devices/{id}/files/notifications/{correlation_id}",
                "Device_UpdateFileUploadStatusByCorrelationId",
                "The same, with the upload's id in the path.",
            )
            .takes(&fields::UPLOAD_ENDED),
            files::complete_by_path,
        )
}
