//! What the cases stand on: stores found on this machine, a proxy with faults, and a whole bridge between two fakes.

pub mod mongo;
pub mod proxy;
pub mod world;
