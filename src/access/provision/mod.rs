//! The deployment as it should be: the collection with its validator and indexes, the view for analysts, roles, users.
//!
//! [`Wanted`] is the one source. [`Plan::make`] holds it against a server and gives the steps between the two, none on a
//! second run; [`init_js`] writes the same commands as a script for who starts the database's container without Medlift.

mod init_js;
mod password;
mod plan;
mod roles;
mod view;
mod wanted;

pub use init_js::init_js;
pub use password::weakness;
pub use plan::{Plan, Step};
pub use view::{pipeline, view_name};
pub use wanted::{Wanted, WantedUser, WantedUsers};
