//! The application: device templates, organizations, people and what they may do, groups of devices, dashboards,
//! deployment manifests, exports of data, file uploads, jobs, questions.
//!
//! Words and rules of IoT Central (CEN-01..32), without HTTP, sockets, files, a clock or randomness: `now` and what is
//! drawn at random are arguments. Types that derive `Serialize` do so as they are stored, in collections of
//! [`Documents`](gantry_hub::ports::Documents) that [`Central`] owns; bodies of requests are their head's.

pub mod access;
pub mod applications;
pub mod csv;
pub mod dashboards;
pub mod devices;
pub mod enrollments;
pub mod exports;
pub mod file_uploads;
pub mod groups;
pub mod ids;
pub mod jobs;
pub mod kept;
pub mod language;
pub mod lists;
pub mod manifests;
pub mod organizations;
pub mod ports;
pub mod question;
pub mod secrets;
pub mod simulation;
pub mod templates;

mod central;
mod shape;

pub use central::{Author, Central, CentralError, ScheduledWrite, State, Write};
pub use shape::ShapeError;
