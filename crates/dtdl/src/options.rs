//! What a caller allows documents to be.

use crate::dtmi::Dtmi;

/// What may be unknown about a document's extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UndefinedExtensions {
    /// What the DTDL version says: v2 allows them, later ones do not.
    #[default]
    PerVersion,
    /// Contexts, types and properties of unknown extensions pass.
    Allow,
    /// They do not.
    Disallow,
}

impl UndefinedExtensions {
    pub(crate) fn allows(self, version: u8) -> bool {
        match self {
            Self::PerVersion => version == 2,
            Self::Allow => true,
            Self::Disallow => false,
        }
    }
}

/// What a parser allows, and how much it takes on.
#[derive(Debug, Clone)]
pub struct Options {
    /// What may be unknown about extensions.
    pub undefined_extensions: UndefinedExtensions,
    /// The newest DTDL version allowed, 2 to 4.
    pub max_dtdl_version: u8,
    /// Contexts whose higher limits are accepted, such as `dtmi:dtdl:limits:onvif;1`. One without
    /// a version stands for all versions.
    pub acceptable_limits: Vec<Dtmi>,
    /// Whether documents of DTDL v2 given by the caller may have errors that are widespread:
    /// references as `{"@id": ...}`, reserved identifiers, names given twice.
    pub tolerate_solecisms_in_parse: bool,
    /// The same for documents that a resolver gives.
    pub tolerate_solecisms_in_resolve: bool,
    /// The bytes of all texts of one parse.
    pub text_bytes_max: usize,
    /// The elements of one model, standard ones among them.
    pub elements_max: usize,
    /// How often a resolver is asked in one parse.
    pub resolver_calls_max: usize,
}

/// The bytes of all texts of one parse, unless the caller says otherwise: a few interfaces of the
/// largest size DTDL allows.
pub const TEXT_BYTES_MAX: usize = 8 << 20;

/// The elements of one model, unless the caller says otherwise: twice an interface of the largest
/// size DTDL allows.
pub const ELEMENTS_MAX: usize = 200_000;

/// How often a resolver is asked, unless the caller says otherwise: extends and components are not
/// nested much deeper than their own limits.
pub const RESOLVER_CALLS_MAX: usize = 64;

impl Default for Options {
    fn default() -> Self {
        Self {
            undefined_extensions: UndefinedExtensions::default(),
            max_dtdl_version: 4,
            acceptable_limits: vec![],
            tolerate_solecisms_in_parse: false,
            tolerate_solecisms_in_resolve: false,
            text_bytes_max: TEXT_BYTES_MAX,
            elements_max: ELEMENTS_MAX,
            resolver_calls_max: RESOLVER_CALLS_MAX,
        }
    }
}

impl Options {
    pub(crate) fn accepts_limits(&self, context: &Dtmi) -> bool {
        self.acceptable_limits.iter().any(|accepted| {
            accepted.versionless() == context.versionless()
                && (accepted.major_version() == 0
                    || (accepted.major_version() == context.major_version()
                        && accepted.minor_version() <= context.minor_version()))
        })
    }
}
