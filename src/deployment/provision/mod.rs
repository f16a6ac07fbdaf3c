//! Brings a deployment to its wanted state: the collection with its validator and indexes, the view for analysts, the
//! roles and the users.
//!
//! [`Wanted`] describes the wanted state. [`Changes::make`] compares it with a server and returns the steps that are
//! missing. When these steps have been executed, it returns no further steps. [`init_js()`] writes the same commands as
//! a script for people who start the database's container without Medlift.

mod changes;
mod init_js;
mod password;
mod roles;
mod sharding;
mod state;
mod step;
mod view;
mod wanted;

pub use changes::Changes;
pub use init_js::init_js;
pub(in crate::deployment) use state::folded_collections;
pub use step::Step;
pub use view::{pipeline, view_name, view_spec};
pub use wanted::{Sharding, Wanted, WantedUser, WantedUsers};
