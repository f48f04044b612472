//! How much may go over the link in a second. It says how long to wait; it waits for nobody.

use std::time::{Duration, Instant};

/// No piece is longer, however fast the link,
const PIECE_MOST: u64 = 256 << 10;
/// or shorter, however slow.
const PIECE_LEAST: u64 = 8 << 10;

/// Bytes a second; `None`: as fast as it goes.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    bytes_per_s: Option<u64>,
    /// Until then nothing more may go.
    free_at: Option<Instant>,
}

impl Limit {
    pub const fn new(bytes_per_s: Option<u64>) -> Self {
        Self { bytes_per_s, free_at: None }
    }

    /// So much in one go that what is urgent waits a second at most.
    pub fn piece_bytes(&self) -> u64 {
        self.bytes_per_s.map_or(PIECE_MOST, |rate| rate.clamp(PIECE_LEAST, PIECE_MOST))
    }

    /// So much went, from then on.
    pub fn spend(&mut self, bytes: u64, now: Instant) {
        if let Some(rate) = self.bytes_per_s {
            let takes = Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64);
            self.free_at = Some(self.free_at.map_or(now, |it| it.max(now)) + takes);
        }
    }

    pub fn wait(&self, now: Instant) -> Duration {
        self.free_at.map_or(Duration::ZERO, |it| it.saturating_duration_since(now))
    }
}

/// Bytes, as people write them: `500`, `20k`, `64KiB`, `1MiB`.
pub fn parse(text: &str) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor: Option<u64> = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => Some(1),
        "k" | "kb" => Some(1_000),
        "kib" => Some(1 << 10),
        "m" | "mb" => Some(1_000_000),
        "mib" => Some(1 << 20),
        _ => None,
    };
    let bytes = number.parse::<u64>().ok().zip(factor).and_then(|(it, by)| it.checked_mul(by));
    bytes
        .filter(|it| *it > 0)
        .ok_or_else(|| format!("`{text}` is no number of bytes a second; write 20k, 64KiB or 1MiB"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_makes_the_next_wait_as_long_as_it_takes() {
        let (mut limit, now) = (Limit::new(Some(1_000)), Instant::now());
        assert_eq!(limit.wait(now), Duration::ZERO);
        limit.spend(500, now);
        limit.spend(1_500, now);
        assert_eq!(limit.wait(now), Duration::from_secs(2));
        assert_eq!(limit.wait(now + Duration::from_secs(3)), Duration::ZERO);
        let mut free = Limit::new(None);
        free.spend(1 << 40, now);
        assert_eq!(free.wait(now), Duration::ZERO);
    }

    #[test]
    fn a_slow_link_gets_short_pieces() {
        assert_eq!(Limit::new(Some(20_000)).piece_bytes(), 20_000);
        assert_eq!(Limit::new(Some(1)).piece_bytes(), PIECE_LEAST);
        assert_eq!(Limit::new(None).piece_bytes(), PIECE_MOST);
    }

    #[test]
    fn bytes_are_read_as_people_write_them() {
        assert_eq!(parse("500"), Ok(500));
        assert_eq!(parse("20k"), Ok(20_000));
        assert_eq!(parse("64 KiB"), Ok(65_536));
        for wrong in ["", "0", "k", "5x", "-1", "99999999999999999999", "20000000000000MiB"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
