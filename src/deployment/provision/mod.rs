//! The wanted state of the deployment: the collection with its validator and indexes, the view for analysts, roles
//! and users.
//!
//! [`Wanted`] is the only source. [`Plan::make`] compares it with a server and returns the steps that are missing; a
//! second run finds none. [`init_js`] writes the same commands as a script, for users who start the database's
//! container without Medlift.

mod init_js;
mod password;
mod plan;
mod roles;
mod view;
mod wanted;

pub use init_js::init_js;
pub use plan::{Plan, Step};
pub use view::{pipeline, view_name};
pub use wanted::{Wanted, WantedUser, WantedUsers};
