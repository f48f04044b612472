//! The made-up states as those of one host: each program has destinations of its own. It makes none itself.

use super::generator::{Generator, Zipf};

const PORTS: [u16; 10] = [443, 443, 443, 443, 443, 443, 80, 8883, 123, 22];

/// From `start` on, and each program goes to destinations of its own, from 4,000 to three, always to one port and by
/// one transport.
pub(super) fn of_a_host(mut generator: Generator, start: u64) -> Generator {
    generator.now = start;
    let counts = (1..=generator.processes.len()).map(|at| (4_000 / at).max(3));
    generator.own = counts.map(|count| Zipf::new(count, 1.05)).collect();
    for ((address, _), port) in generator.places.iter_mut().zip(PORTS.into_iter().cycle()) {
        address.set_port(port);
    }
    generator
}
