//! The bridge between a CRM's conversations and the Cast.ph SMS gateway: signed webhooks in, a durable queue, SMS out,
//! status back; replies in, conversation out.
//!
//! Modules stand in ranks (docs/architecture.md): one may import only modules of a lower rank; `tests/architecture.rs`
//! reads the sources and enforces it.

pub mod app;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod delivery;
pub mod digest;
pub mod domain;
pub mod fake;
pub mod ghl_pace;
pub mod http;
pub mod leader;
pub mod lifecycle;
pub mod oauth;
pub mod operator;
pub mod opt_out;
pub mod pacing;
pub mod queue;
pub mod random;
pub mod rekey;
pub mod retention;
pub mod sandbox;
pub mod seal;
pub mod signature;
pub mod store;
pub mod telemetry;
