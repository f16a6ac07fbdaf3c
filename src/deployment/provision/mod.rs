//! The wanted state of the deployment: the collection with its validator and indexes, the view for analysts, roles
//! and users.
//!
//! [`Wanted`] is the only source. [`Changes::make`] compares it with a server and returns the steps that are missing; a
//! second run finds none. [`init_js`] writes the same commands as a script, for users who start the database's
//! container without Medlift.

mod changes;
mod init_js;
mod password;
mod roles;
mod view;
mod wanted;

pub use changes::{Changes, Step};
pub use init_js::init_js;
pub use view::{pipeline, view_name};
pub use wanted::{Wanted, WantedUser, WantedUsers};
