//! The durable queue: what enters it, who may take from it, in which order and how fast, and what becomes of a try.
//!
//! Invariant: a 2xx leaves only after [`Intake`](crate::domain::message::Intake) is durable; a call is made only after its
//! attempt is durable and while the right to act holds. What "sending" means is the [`Handler`]'s. Must not import
//! delivery, oauth, http or config.

mod admission;
mod census;
mod enqueue;
mod schedule;
mod worker;

pub use admission::{Admission, Bounds, Full};
pub use census::Census;
pub use enqueue::{Answer, Enqueue, EnqueueError, NewReply};
pub use worker::{Call, Handler, Prepared, Step, Terms, Worker, WorkerParts};
