//! Tables on disk.
//!
//! A folder holds one Parquet file for each [`Extent`](gantry_analytics::store::Extent) and `catalog.json`, which says
//! what there is: definitions, the extents of each table, how far tables that are fed from a log were fed. A change is
//! a new catalogue that takes the place of the old one in one step, after the files it names are on the disk; a file
//! that no catalogue names is what a crash has left behind, and goes when the folder is opened.
//!
//! Extents that are not hot any more may be kept in an object store ([`ColdStore`]), where others can read them. The
//! catalogue stays here and says which are.

mod catalog;
mod cold;
mod folder;
mod read;
mod schema;
mod texts;
mod write;

pub use cold::ColdStore;
pub use folder::Folder;
