//! The head over the directory: where programs get tokens, what the platform says of who may do what, and who brings a
//! token.
//!
//! [`Service`] is one for the process and keeps everything in documents; [`OfHub`] is what the heads of one hub ask.
//! Rules are those of `gantry-directory`. Nothing here reads a file or asks another server: keys of foreign issuers are
//! brought ([`Service::set_keys`]) when they are wanted ([`Service::keys_wanted`]).

mod development;
mod failure;
mod kept;
mod known;
mod of_hub;
mod openid;
mod principals;
mod roles;
mod service;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use gantry_api::{Api, Routes, directory as rows};

pub use failure::Failure;
pub use kept::{DirectoryError, PRINCIPALS_MAX};
pub use known::KNOWN_MAX;
pub use of_hub::{OfHub, Place};
pub use service::{DevelopmentSecret, Issuer, Service, Setup};

/// What handlers work with.
pub(crate) struct Shared {
    api: Arc<Api>,
    service: Arc<Service>,
    /// The resource group of the hub that was asked, where roles are given.
    group: String,
}

/// The routes by which programs find the directory and get tokens, at the endpoint of any hub; and, where it is
/// `managed`, those that say who may do what. That is one hub's: whoever owns another hub of the process could else give
/// themselves what is not theirs.
pub fn routes(api: &Arc<Api>, service: Arc<Service>, place: &Place, managed: bool) -> Routes {
    let shared = Arc::new(Shared { api: Arc::clone(api), service, group: place.group.clone() });
    let own = if managed { management() } else { Routes::new() };
    let routes = openid_routes().merge(own).with_state(shared);
    gantry_api::guarded::<Failure>(api, routes)
}

fn openid_routes() -> Routes<Arc<Shared>> {
    Routes::new()
        .on(rows::configuration_2(), openid::configuration_2)
        .on(rows::configuration_1(), openid::configuration_1)
        .on(rows::keys_2(), openid::keys)
        .on(rows::keys_1(), openid::keys)
        .on(rows::instance(), openid::instance)
        .on(rows::token_2(), openid::token_2)
        .on(rows::token_1(), openid::token_1)
}

fn management() -> Routes<Arc<Shared>> {
    Routes::new()
        .on(rows::show(), roles::show)
        .on(rows::signing_keys(), roles::signing_keys)
        .on(rows::revoke_key(), roles::revoke_key)
        .on(rows::principals(), principals::list)
        .on(rows::make_principal(), principals::create)
        .on(rows::principal(), principals::get)
        .on(rows::change_principal(), principals::update)
        .on(rows::delete_principal(), principals::delete)
        .on(rows::add_secret(), principals::add_secret)
        .on(rows::remove_secret(), principals::remove_secret)
        .on(rows::definitions(), roles::definitions)
        .on(rows::assignments(), roles::list)
        .on(rows::assign(), roles::create)
        .on(rows::unassign(), roles::delete)
}
