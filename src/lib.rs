//! The bridge between a CRM's conversations and the Cast.ph SMS gateway: signed webhooks in, a durable queue, SMS out,
//! status back; replies in, conversation out.
//!
//! Modules stand in ranks (docs/architecture.md): one may import only modules of a lower rank; `tests/architecture.rs`
//! reads the sources and enforces it.

pub mod clock;
pub mod digest;
pub mod domain;
pub mod ghl_pace;
pub mod lifecycle;
pub mod pacing;
pub mod random;
pub mod seal;
pub mod signature;
pub mod telemetry;
