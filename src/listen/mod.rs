//! Listeners: receive data over the network and store them.

pub mod http;
pub mod metrics;
pub mod tls;
