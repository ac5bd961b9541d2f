//! The blob service's table of operations.
//!
//! A request is told by what it is about, its method, and `comp` in its query; the path is data. So these rows lead
//! to no router: [`find`] is their router, and what a row demands of a signature is asked for before its handler runs.

use axum::http::Method;
use gantry_blobs::{Permission, Target};
use gantry_hub::ports::directory::{Bearer, Resource};

use super::error::Failure;
use super::request::Call;
use crate::operation::{Access, Head, Operation};

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Batch,
    ListContainers,
    CreateContainer,
    ShowContainer,
    DeleteContainer,
    SetContainerMetadata,
    ListBlobs,
    ReadBlob,
    ShowBlob,
    PutBlob,
    DeleteBlob,
    SetBlobMetadata,
    SetBlobProperties,
    PutBlock,
    CommitBlocks,
    ListBlocks,
}

const CONTAINERS_READ: &str = "Microsoft.Storage/storageAccounts/blobServices/containers/read";
const CONTAINERS_WRITE: &str = "Microsoft.Storage/storageAccounts/blobServices/containers/write";
const CONTAINERS_DELETE: &str = "Microsoft.Storage/storageAccounts/blobServices/containers/delete";
const BLOBS_READ: &str = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read";
const BLOBS_WRITE: &str = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write";
const BLOBS_ADD: &str = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/add/action";
const BLOBS_DELETE: &str = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/delete";

impl What {
    /// Which of these permissions somebody's roles give them for this; none when they may not. Containers themselves are
    /// of the control plane, blobs are data ("Permissions for calling data operations").
    pub(super) fn allowed(
        self,
        bearer: &dyn Bearer,
        needed: &[Permission],
        resource: Resource<'_>,
    ) -> Option<Permission> {
        let of_container = match self {
            // What a batch does is asked of each of its parts, which bring their own tokens.
            Self::Batch => return needed.first().copied(),
            Self::ListContainers | Self::ShowContainer => Some(CONTAINERS_READ),
            Self::CreateContainer | Self::SetContainerMetadata => Some(CONTAINERS_WRITE),
            Self::DeleteContainer => Some(CONTAINERS_DELETE),
            _ => None,
        };
        if let Some(action) = of_container {
            return needed.first().copied().filter(|_| bearer.may_manage(action, resource));
        }
        let action = |permission: Permission| match permission {
            Permission::Read | Permission::List => BLOBS_READ,
            Permission::Write => BLOBS_WRITE,
            Permission::Create => BLOBS_ADD,
            Permission::Delete => BLOBS_DELETE,
        };
        needed.iter().copied().find(|permission| bearer.may(action(*permission), resource))
    }
}

/// What an operation is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum On {
    Account,
    Container,
    Blob,
}

/// One operation.
pub(super) struct Row {
    pub(super) what: What,
    /// What a signature must allow, one of them; a shared key allows everything.
    pub(super) needs: &'static [Permission],
    on: On,
    method: &'static str,
    comp: &'static str,
    /// The published name.
    id: &'static str,
    about: &'static str,
}

const fn row(
    what: What,
    (on, method, comp): (On, &'static str, &'static str),
    needs: &'static [Permission],
    id: &'static str,
    about: &'static str,
) -> Row {
    Row { what, needs, on, method, comp, id, about }
}

const READ: &[Permission] = &[Permission::Read];
const WRITE: &[Permission] = &[Permission::Write];
const DELETE: &[Permission] = &[Permission::Delete];
const LIST: &[Permission] = &[Permission::List];
/// Creating alone is enough where nothing is there yet.
const WRITE_OR_CREATE: &[Permission] = &[Permission::Write, Permission::Create];

static TABLE: [Row; 19] = [
    row(
        What::Batch,
        (On::Account, "POST", "batch"),
        DELETE,
        "Service_SubmitBatch",
        "Deletes up to 256 blobs, each answered for itself.",
    ),
    row(
        What::Batch,
        (On::Container, "POST", "batch"),
        DELETE,
        "Container_SubmitBatch",
        "The same, within a container.",
    ),
    row(
        What::ListContainers,
        (On::Account, "GET", "list"),
        LIST,
        "Service_ListContainersSegment",
        "A page of the containers.",
    ),
    row(What::CreateContainer, (On::Container, "PUT", ""), WRITE_OR_CREATE, "Container_Create", "Creates a container."),
    row(
        What::ShowContainer,
        (On::Container, "GET", ""),
        READ,
        "Container_GetProperties",
        "State and metadata of a container.",
    ),
    row(What::ShowContainer, (On::Container, "GET", "metadata"), READ, "Container_GetMetadata", "The same."),
    row(
        What::DeleteContainer,
        (On::Container, "DELETE", ""),
        DELETE,
        "Container_Delete",
        "Deletes a container with its blobs.",
    ),
    row(
        What::SetContainerMetadata,
        (On::Container, "PUT", "metadata"),
        WRITE,
        "Container_SetMetadata",
        "Replaces the metadata of a container.",
    ),
    row(
        What::ListBlobs,
        (On::Container, "GET", "list"),
        LIST,
        "Container_ListBlobFlatSegment",
        "A page of the blobs of a container, with `delimiter` as folders.",
    ),
    row(What::ReadBlob, (On::Blob, "GET", ""), READ, "Blob_Download", "Content of a blob, or a range of it."),
    row(What::ShowBlob, (On::Blob, "HEAD", ""), READ, "Blob_GetProperties", "Properties and metadata of a blob."),
    row(What::ShowBlob, (On::Blob, "GET", "metadata"), READ, "Blob_GetMetadata", "The same."),
    row(What::PutBlob, (On::Blob, "PUT", ""), WRITE_OR_CREATE, "BlockBlob_Upload", "Writes a block blob whole."),
    row(What::DeleteBlob, (On::Blob, "DELETE", ""), DELETE, "Blob_Delete", "Deletes a blob."),
    row(
        What::SetBlobMetadata,
        (On::Blob, "PUT", "metadata"),
        WRITE,
        "Blob_SetMetadata",
        "Replaces the metadata of a blob.",
    ),
    row(
        What::SetBlobProperties,
        (On::Blob, "PUT", "properties"),
        WRITE,
        "Blob_SetHTTPHeaders",
        "Replaces the properties of a blob.",
    ),
    row(What::PutBlock, (On::Blob, "PUT", "block"), WRITE, "BlockBlob_StageBlock", "Stores a block of a blob to come."),
    row(
        What::CommitBlocks,
        (On::Blob, "PUT", "blocklist"),
        WRITE_OR_CREATE,
        "BlockBlob_CommitBlockList",
        "Makes a blob of its blocks.",
    ),
    row(
        What::ListBlocks,
        (On::Blob, "GET", "blocklist"),
        READ,
        "BlockBlob_GetBlockList",
        "The blocks of a blob, committed and not.",
    ),
];

/// The row of a call.
///
/// # Errors
/// Names what is not built.
pub(super) fn find(call: &Call) -> Result<&'static Row, Failure> {
    let comp = call.query("comp");
    let on = match call.target {
        Target::Account => On::Account,
        Target::Container(_) if call.query("restype") != "container" => {
            return Err(Failure::bad("InvalidUri", "an operation on a container has restype=container"));
        }
        Target::Container(_) => On::Container,
        Target::Blob(..) if ["snapshot", "versionid"].iter().any(|name| !call.query(name).is_empty()) => {
            return Err(Failure::not_implemented("snapshots and versions"));
        }
        Target::Blob(..) => On::Blob,
    };
    let of_method = |method: &str| TABLE.iter().find(|row| row.on == on && row.method == method && row.comp == comp);
    // What shows a state has no row of its own for HEAD.
    let as_get = || {
        let is_shown = |row: &&Row| matches!(row.what, What::ShowContainer | What::ShowBlob);
        of_method("GET").filter(|row| call.method == Method::HEAD && is_shown(row))
    };
    of_method(call.method.as_str()).or_else(as_get).ok_or_else(|| match on {
        On::Account => Failure::not_implemented("this operation on the account"),
        On::Container => Failure::not_implemented(&format!("{} container comp={comp}", call.method)),
        On::Blob => Failure::not_implemented(&format!("{} blob comp={comp}", call.method)),
    })
}

/// The rows as documents show them.
pub fn operations() -> impl Iterator<Item = Operation> {
    TABLE.iter().map(|row| {
        let (path, restype) = match row.on {
            On::Account => ("/{account}", ""),
            On::Container => ("/{account}/{container}", "restype=container"),
            On::Blob => ("/{account}/{container}/{blob}", ""),
        };
        let comp = if row.comp.is_empty() { String::new() } else { format!("comp={}", row.comp) };
        let query: Vec<_> = [restype, &comp].into_iter().filter(|part| !part.is_empty()).collect();
        let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
        let access = Access::Blob(row.needs);
        let method = Method::from_bytes(row.method.as_bytes()).ok();
        Operation::new(Head::Blob, method, &format!("{path}{query}"), row.id, access, row.about)
    })
}
