//! What the cases stand on: stores found on this machine, a proxy with faults, a whole bridge between two fakes, further
//! processes beside it, and chance with a seed.

pub mod dice;
pub mod mongo;
pub mod proxy;
pub mod step;
pub mod world;
