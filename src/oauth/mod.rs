//! Grants: how a location or agency connects, and how its tokens are kept, lent and renewed.
//!
//! Owns tokens: clients receive them per call, and nobody else opens a sealed one. Invariant: a refresh token is spent by the
//! leader alone, one at a time, and a newer pair is never overwritten by an older one. Must not import queue, delivery, http.

mod agency;
mod call;
mod inspect;
mod install;
mod mint;
mod recheck;
mod refresh;
mod renewal;
mod spending;
mod state;

pub use agency::{Agency, AgencySettings};
pub use call::{CallError, Tokens, TokensParts};
pub use inspect::{Inspector, Looked, several_companies};
pub use install::{Connected, InstallError, Installer, InstallerSettings};
pub use state::{STATE_COOKIE, StateCheck, check_state};
