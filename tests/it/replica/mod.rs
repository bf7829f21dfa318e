//! Several processes on one MongoDB: who leads and from when, how fast all of them send together, whose clock is believed, and
//! what a partition costs. What a leader leaves behind that dies or freezes is in `crash`.

mod clock;
mod member;
mod partition;
pub mod rate;
mod takeover;

use crate::Cases;
use crate::support::world::Place;

pub fn cases() -> Cases<Place> {
    let mut all = takeover::cases();
    all.extend(rate::cases());
    all.extend(clock::cases());
    all.extend(partition::cases());
    all
}
