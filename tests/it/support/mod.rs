//! What the cases stand on: stores found on this machine, and a whole bridge between two fakes.

pub mod mongo;
pub mod world;
