//! What the cases stand on: stores found on this machine, neighbours that fail, a whole bridge between two fakes, further
//! processes beside it, and chance with a seed.

pub mod blunt;
pub mod dice;
pub mod mongo;
pub mod proxy;
pub mod step;
pub mod world;
