//! Stateful stand-ins for the two vendors, each a real HTTP server on a socket of its own.
//!
//! Owns what Cast and GHL are believed to do, taken from the two contract documents and nothing else. They are product
//! code: the same ones serve `cast-ghl sandbox` and the tests. A fake refuses what the contract does not declare and
//! writes down every call, so that a test asks the vendor's side what happened.
//! Must not import `client` or `store`: the wire types here are its own, so that it cannot share a mistake with the client.

pub mod cast;
pub mod ghl;

mod post;
mod server;
mod wire;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub use post::WebhookAnswer;

use crate::domain::time::UnixMillis;

/// A call to a path or with a method the vendor's contract does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unexpected {
    /// When it came.
    pub at: UnixMillis,
    /// Its method.
    pub method: String,
    /// Its path, without the query.
    pub path: String,
}

/// The vendor's books. A panic of one call must not hide what the others did, so poison is ignored.
fn lock<T>(books: &Mutex<T>) -> MutexGuard<'_, T> {
    books.lock().unwrap_or_else(PoisonError::into_inner)
}
