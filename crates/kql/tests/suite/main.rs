//! The language over whole texts: corpora, limits, names, what every bound tree promises.

mod corpus;
mod limits;
mod names;
mod tree;
