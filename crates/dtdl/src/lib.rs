//! DTDL, the Digital Twins Definition Language, versions 2, 3 and 4: documents to models.
//!
//! A [`Parser`] reads texts, each an interface or an array of them, and gives a [`Model`] or says
//! why not, with the names of errors that the reference parser has ([`ErrorName`]). What the texts
//! refer to and do not have is asked of a [`Resolver`].
//!
//! ```
//! use gantry_dtdl::{Capability, Dtmi, Parser};
//!
//! let text = r#"{
//!     "@context": "dtmi:dtdl:context;2",
//!     "@id": "dtmi:com:example:Thermostat;1",
//!     "@type": "Interface",
//!     "contents": [{
//!         "@type": ["Telemetry", "Temperature"],
//!         "name": "temperature",
//!         "schema": "double",
//!         "unit": "degreeCelsius"
//!     }]
//! }"#;
//! let model = Parser::default().parse(&[text]).unwrap();
//! let thermostat = model.interface("dtmi:com:example:Thermostat;1").unwrap();
//! let temperature = thermostat.content("temperature").unwrap();
//! assert_eq!(temperature.capability(), Some(Capability::Telemetry));
//! assert_eq!(temperature.unit().unwrap().symbol(), Some("°C"));
//!
//! let wrong = r#"{"@context": "dtmi:dtdl:context;2", "@id": "dtmi:x;1", "@type": "Telemetry"}"#;
//! let error = Parser::default().parse(&[wrong]).unwrap_err();
//! assert_eq!(error.parsing_errors()[0].name.as_str(), "typeNotRootable");
//! ```
//!
//! The metamodel is in tables (`metamodel/table.rs`, `metamodel/extensions.rs`), read by one walk
//! (`parse`) and by rules over the finished elements (`rules`). Nothing here does I/O or reads a
//! clock; texts, nesting, elements and errors are bounded ([`Options`]).

mod context;
mod document;
mod dtmi;
mod error;
mod error_names;
mod instance;
mod json;
mod metamodel;
mod model;
mod options;
mod parse;
mod resolver;
mod rules;
mod view;

pub use dtmi::{DTMI_LEN_MAX, Dtmi, DtmiError, ID_LEN_MAX, INTERFACE_ID_LEN_MAX};
pub use error::{DtdlError, ERRORS_MAX, ErrorName, ParsingError, VALIDATION_PREFIX};
pub use instance::{VIOLATIONS_MAX, Violation};
pub use json::NESTING_MAX;
pub use metamodel::{Class, Edition, Prop};
pub use model::Model;
pub use options::{ELEMENTS_MAX, Options, RESOLVER_CALLS_MAX, TEXT_BYTES_MAX, UndefinedExtensions};
pub use parse::{DEFAULT_LANGUAGE, Parser};
pub use resolver::Resolver;
pub use rules::INHERITED_MAX;
pub use view::{Capability, Command, Content, Data, Interface, Node, Schema, SchemaKind, Unit, Value};
