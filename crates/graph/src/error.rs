//! Why something was refused.

use gantry_hub::ports::StoreError;

use crate::limits;
use crate::query::QueryError;

/// Why an operation of the graph was refused. Variants are named as the reference's codes.
#[derive(Clone, Debug, thiserror::Error)]
pub enum GraphError {
    /// An id or another argument cannot be one.
    #[error("{0}")]
    InvalidArgument(String),
    /// Models that are no DTDL, or refer to what is not there.
    #[error("the models are not valid DTDL: {0}")]
    DtdlParserError(String),
    /// A version of DTDL that is not known.
    #[error("`{0}` is not a version of DTDL that is supported; there are 2, 3 and 4")]
    ModelVersionNotSupported(String),
    /// A model of the id is there.
    #[error("model `{0}` exists already")]
    ModelAlreadyExists(String),
    /// No model of the id.
    #[error("there is no model `{0}`")]
    ModelNotFound(String),
    /// Others are built on the model.
    #[error("model `{model}` is used by `{by}`, which must be deleted first")]
    ModelReferencesNotDeleted {
        /// The model.
        model: String,
        /// One that is built on it.
        by: String,
    },
    /// Others that are in use are built on the model.
    #[error("model `{model}` is used by `{by}`, which must be decommissioned first")]
    ModelReferencesNotDecommissioned {
        /// The model.
        model: String,
        /// One that is built on it.
        by: String,
    },
    /// New twins may not have the model.
    #[error("model `{0}` is decommissioned")]
    ModelDecommissioned(String),
    /// No twin of the id.
    #[error("there is no digital twin `{0}`")]
    DigitalTwinNotFound(String),
    /// No twin where a relationship is to lead.
    #[error("there is no digital twin `{0}`, the target of the relationship")]
    TargetTwinNotFound(String),
    /// No relationship of the id leaves the twin.
    #[error("digital twin `{twin}` has no relationship `{id}`")]
    RelationshipNotFound {
        /// The source.
        twin: String,
        /// The relationship.
        id: String,
    },
    /// The twin has no component of the name.
    #[error("digital twin `{twin}` has no component `{name}`")]
    ComponentNotFound {
        /// The twin.
        twin: String,
        /// The component.
        name: String,
    },
    /// Relationships begin or end at the twin.
    #[error("digital twin `{0}` has relationships, which must be deleted first")]
    RelationshipsNotDeleted(String),
    /// As many twins as there may be.
    #[error("a graph may have {0} digital twins")]
    TwinLimitReached(usize),
    /// More of something than there may be.
    #[error("{0}")]
    LimitExceeded(String),
    /// What is to be written is not what its model says.
    #[error("{0}")]
    ValidationFailed(String),
    /// The relationship is not one of its source's model.
    #[error("{0}")]
    InvalidRelationship(String),
    /// A relationship from a twin to itself.
    #[error("a relationship cannot connect digital twin `{0}` to itself")]
    OperationNotAllowed(String),
    /// The patch cannot be read, or changes what cannot be changed.
    #[error("{0}")]
    JsonPatchInvalid(String),
    /// It is not as the caller expects.
    #[error("`{0}` is not as `If-Match` or `If-None-Match` expects it")]
    PreconditionFailed(String),
    /// No event route of the id.
    #[error("there is no event route `{0}`")]
    EventRouteNotFound(String),
    /// The id of an event route.
    #[error("the id of an event route has 1 to {max} letters, digits and -_.", max = limits::NAME_LEN_MAX)]
    EventRouteIdInvalid,
    /// The filter of an event route.
    #[error("filter: {0}")]
    EventRouteFilterInvalid(String),
    /// The endpoint of an event route.
    #[error("{0}")]
    EventRouteEndpointInvalid(String),
    /// No job of the id.
    #[error("there is no {kind} job `{id}`")]
    JobNotFound {
        /// `import` or `delete`.
        kind: &'static str,
        /// The job.
        id: String,
    },
    /// A job runs already.
    #[error("{0}")]
    JobLimitReached(String),
    /// The query cannot be understood.
    #[error(transparent)]
    SqlQueryError(#[from] QueryError),
    /// The query took too long.
    #[error("the query looks at more than it may; simplify it, or add conditions that make its result smaller")]
    TimeoutError,
    /// The continuation token is none of ours.
    #[error("the continuation token is invalid")]
    BadContinuation,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl GraphError {
    pub(crate) fn validation(words: impl Into<String>) -> Self {
        Self::ValidationFailed(words.into())
    }

    pub(crate) fn patch(words: impl Into<String>) -> Self {
        Self::JsonPatchInvalid(words.into())
    }

    /// The reference's word for it.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::InvalidArgument(_) => "InvalidArgument",
            Self::DtdlParserError(_) => "DTDLParserError",
            Self::ModelVersionNotSupported(_) => "ModelVersionNotSupported",
            Self::ModelAlreadyExists(_) => "ModelAlreadyExists",
            Self::ModelNotFound(_) => "ModelNotFound",
            Self::ModelReferencesNotDeleted { .. } => "ModelReferencesNotDeleted",
            Self::ModelReferencesNotDecommissioned { .. } => "ModelReferencesNotDecommissioned",
            Self::ModelDecommissioned(_) => "ModelDecommissioned",
            Self::DigitalTwinNotFound(_) => "DigitalTwinNotFound",
            Self::TargetTwinNotFound(_) => "TargetTwinNotFound",
            Self::RelationshipNotFound { .. } => "RelationshipNotFound",
            Self::ComponentNotFound { .. } => "ComponentNotFound",
            Self::RelationshipsNotDeleted(_) => "RelationshipsNotDeleted",
            Self::TwinLimitReached(_) => "TwinLimitReached",
            Self::LimitExceeded(_) => "LimitExceeded",
            Self::ValidationFailed(_) => "ValidationFailed",
            Self::InvalidRelationship(_) => "InvalidRelationship",
            Self::OperationNotAllowed(_) => "OperationNotAllowed",
            Self::JsonPatchInvalid(_) => "JsonPatchInvalid",
            Self::PreconditionFailed(_) => "PreconditionFailed",
            Self::EventRouteNotFound(_) => "EventRouteNotFound",
            Self::EventRouteIdInvalid => "EventRouteIdInvalid",
            Self::EventRouteFilterInvalid(_) => "EventRouteFilterInvalid",
            Self::EventRouteEndpointInvalid(_) => "EventRouteEndpointInvalid",
            Self::JobNotFound { kind: "delete", .. } => "DeleteJobNotFound",
            Self::JobNotFound { .. } => "ImportJobNotFound",
            Self::JobLimitReached(_) => "JobLimitReached",
            Self::SqlQueryError(_) => "SqlQueryError",
            Self::TimeoutError => "TimeoutError",
            Self::BadContinuation => "BadRequest",
            Self::Store(StoreError::Conflict) => "TooManyRequests",
            Self::Store(_) => "ServiceUnavailable",
        }
    }
}
