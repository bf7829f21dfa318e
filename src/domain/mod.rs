//! The rules of the bridge, without I/O: what may be sent, what follows what, what is told to whom.
//!
//! Everything here is a pure function over plain data, so that it can be property-tested and model-checked.
//! Must not import anything of this crate outside `domain`, nor tokio, nor a clock.

pub mod agency;
pub mod checkup;
pub mod compose;
pub mod connect;
pub mod contact;
pub mod day;
pub mod dnd;
pub mod id;
pub mod inbound;
pub mod installation;
pub mod json;
pub mod leadership;
pub mod lifecycle;
pub mod message;
pub mod opt_out;
pub mod outcome;
pub mod phone;
pub mod post;
pub mod receipt;
pub mod recheck;
pub mod refresh;
pub mod report;
pub mod resend;
pub mod retry;
pub mod scope;
pub mod secret;
pub mod segment;
pub mod settings;
pub mod time;
pub mod transition;
pub mod webhook;
pub mod words;
