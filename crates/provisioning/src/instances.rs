//! Several instances behind one address, told apart by their id scopes.

use std::sync::Arc;

use crate::service::Service;

/// The instances of a process.
#[derive(Clone)]
pub struct Instances {
    own: Arc<Service>,
    all: Arc<[Arc<Service>]>,
}

impl Instances {
    /// Every instance, as seen from the name of one of them.
    pub fn new(own: Arc<Service>, all: Arc<[Arc<Service>]>) -> Self {
        Self { own, all }
    }

    /// The instance whose name was asked for.
    pub fn own(&self) -> &Arc<Service> {
        &self.own
    }

    /// The instance of an id scope; for a scope that no instance has the own one, which refuses it and reports that.
    pub fn of(&self, scope: &str) -> &Arc<Service> {
        self.all.iter().find(|one| one.id_scope().as_str() == scope).unwrap_or(&self.own)
    }
}

impl From<Arc<Service>> for Instances {
    /// One instance alone.
    fn from(own: Arc<Service>) -> Self {
        Self { all: Arc::new([Arc::clone(&own)]), own }
    }
}
