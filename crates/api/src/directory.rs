//! Rows of our own directory: where programs get tokens, and what the platform says of who may do what. The handlers are
//! those of the room that keeps them.

use axum::http::Method;

use crate::caller::Permissions;
use crate::fields::Fields;
use crate::operation::{Access, Head, Operation};

/// Largest request for a token, bytes.
const TOKEN_REQUEST_BYTES_MAX: usize = 16 << 10;

fn open(path: &str, id: &'static str, about: &'static str) -> Operation {
    Operation::new(Head::Directory, Method::GET, path, id, Access::Anyone, about)
}

fn token(path: &str, id: &'static str, about: &'static str) -> Operation {
    let proof = Access::Proof("a client secret, in the body or as `Basic`");
    Operation::new(Head::Directory, Method::POST, path, id, proof, about).takes_bytes().up_to(TOKEN_REQUEST_BYTES_MAX)
}

/// Discovery of version 2.
pub fn configuration_2() -> Operation {
    let about = "The OpenID discovery document.";
    open("/{tenant}/v2.0/.well-known/openid-configuration", "Directory_GetConfigurationV2", about)
}

/// Discovery of version 1.
pub fn configuration_1() -> Operation {
    let about = "The same, of version 1.";
    open("/{tenant}/.well-known/openid-configuration", "Directory_GetConfigurationV1", about)
}

/// Public keys.
pub fn keys_2() -> Operation {
    open("/{tenant}/discovery/v2.0/keys", "Directory_GetKeysV2", "The public keys of tokens, as a JSON Web Key Set.")
}

/// The same under the path of version 1.
pub fn keys_1() -> Operation {
    open("/{tenant}/discovery/keys", "Directory_GetKeysV1", "The same.")
}

/// What authorities there are.
pub fn instance() -> Operation {
    let about = "Which authority this is, for clients that ask before they trust it.";
    open("/common/discovery/instance", "Directory_GetInstance", about)
}

/// A token of version 2.
pub fn token_2() -> Operation {
    let about = "A token: `grant_type=client_credentials` and `scope={resource}/.default`, as a form.";
    token("/{tenant}/oauth2/v2.0/token", "Directory_GetTokenV2", about)
}

/// The same of version 1.
pub fn token_1() -> Operation {
    token("/{tenant}/oauth2/token", "Directory_GetTokenV1", "The same with `resource={resource}`.")
}

static PRINCIPAL: Fields = Fields { taken: &["displayName", "enabled"], ..Fields::NOTHING };
static SECRET: Fields = Fields { taken: &["displayName", "days"], ..Fields::NOTHING };
static ASSIGNMENT: Fields =
    Fields { taken: &["principalId", "tenantId", "role", "roleDefinitionId", "scope"], ..Fields::NOTHING };

fn manage(method: Method, path: &str, id: &'static str, about: &'static str) -> Operation {
    let path = format!("/directory{path}");
    Operation::new(Head::Platform, method, &path, id, Access::Platform(Permissions::DIRECTORY_MANAGE), about)
}

/// What the directory is.
pub fn show() -> Operation {
    let about = "`{\"tenantId\",\"authority\",\"scope\",\"issuers\":[{\"issuer\",\"tenantId\",\"keys\"}]}`.";
    manage(Method::GET, "", "Directory_Get", about)
}

/// Keys that tokens are signed with.
pub fn signing_keys() -> Operation {
    let about =
        "`{\"value\":[{\"id\",\"signsFrom\"}]}`, oldest first; their public parts are at the directory's own path.";
    manage(Method::GET, "/signingKeys", "SigningKeys_List", about)
}

/// Forgets one.
pub fn revoke_key() -> Operation {
    let about = "204; every token that was signed with it is refused from now on, and another key signs.";
    manage(Method::DELETE, "/signingKeys/{id}", "SigningKeys_Revoke", about)
}

/// Every service principal.
pub fn principals() -> Operation {
    manage(Method::GET, "/servicePrincipals", "ServicePrincipals_List", "`{\"value\":[ServicePrincipal]}`.")
}

/// A new one.
pub fn make_principal() -> Operation {
    let about = "A ServicePrincipal without secrets and roles.";
    manage(Method::POST, "/servicePrincipals", "ServicePrincipals_Create", about).takes(&PRINCIPAL)
}

/// One.
pub fn principal() -> Operation {
    let about = "`{\"appId\",\"objectId\",\"displayName\",\"enabled\",\"secrets\":[{\"keyId\",\"displayName\",\"hint\",\
                 \"createdAt\",\"expiresAt\"}]}`; `id` is either id.";
    manage(Method::GET, "/servicePrincipals/{id}", "ServicePrincipals_Get", about)
}

/// Changes one.
pub fn change_principal() -> Operation {
    let about = "The ServicePrincipal; one that is not enabled gets no token, and those it has are refused.";
    manage(Method::PATCH, "/servicePrincipals/{id}", "ServicePrincipals_Update", about).takes(&PRINCIPAL)
}

/// Forgets one.
pub fn delete_principal() -> Operation {
    let about = "204; its role assignments go with it, and its tokens are refused.";
    manage(Method::DELETE, "/servicePrincipals/{id}", "ServicePrincipals_Delete", about)
}

/// A new secret.
pub fn add_secret() -> Operation {
    let about = "`{\"keyId\",\"secret\",\"expiresAt\"}`: the secret is told this once. It lives 180 days unless said, 730 \
                 at most.";
    manage(Method::POST, "/servicePrincipals/{id}/secrets", "ServicePrincipals_AddSecret", about).takes(&SECRET)
}

/// Forgets a secret.
pub fn remove_secret() -> Operation {
    let about = "204; tokens that were had with it live to their end.";
    manage(Method::DELETE, "/servicePrincipals/{id}/secrets/{key}", "ServicePrincipals_RemoveSecret", about)
}

/// Every role.
pub fn definitions() -> Operation {
    let about = "`{\"value\":[{\"id\",\"roleName\",\"actions\",\"notActions\",\"dataActions\"}]}`.";
    manage(Method::GET, "/roleDefinitions", "RoleDefinitions_List", about)
}

/// Every assignment.
pub fn assignments() -> Operation {
    manage(Method::GET, "/roleAssignments", "RoleAssignments_List", "`{\"value\":[RoleAssignment]}`.")
}

/// Gives a role.
pub fn assign() -> Operation {
    let about = "The RoleAssignment: `role` is the name of a built-in role or its id; the directory is ours unless \
                 `tenantId` names that of an issuer.";
    manage(Method::POST, "/roleAssignments", "RoleAssignments_Create", about).takes(&ASSIGNMENT)
}

/// Takes one away.
pub fn unassign() -> Operation {
    manage(Method::DELETE, "/roleAssignments/{id}", "RoleAssignments_Delete", "204; it counts no more from now on.")
}

/// All of them.
pub fn operations() -> [Operation; 21] {
    [
        configuration_2(),
        configuration_1(),
        keys_2(),
        keys_1(),
        instance(),
        token_2(),
        token_1(),
        show(),
        signing_keys(),
        revoke_key(),
        principals(),
        make_principal(),
        principal(),
        change_principal(),
        delete_principal(),
        add_secret(),
        remove_secret(),
        definitions(),
        assignments(),
        assign(),
        unassign(),
    ]
}
