//! The two services this bridge calls, as typed clients: [`cast`] and [`ghl`] over one HTTP client from [`builder`].
//!
//! Owns the wire formats and what each answer means. Invariant: one call is one request. Clients never sleep, never
//! retry and keep no state; tokens and keys are lent to them per call. So every caller knows exactly what went out.
//! Must not import `store`, `oauth`, `queue` or `config`.

pub mod builder;
pub mod cast;
pub mod ghl;
mod lenient;
pub mod retry_after;
mod transport;
#[cfg(test)]
mod wire;

pub use transport::Reached;
