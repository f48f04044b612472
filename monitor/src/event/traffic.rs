//! How much was sent and came back, and the sums and parts of it.

/// What went over the wire, in IP bytes (L3, headers included) and packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    pub sent_bytes: u64,
    pub sent_packets: u64,
    pub received_bytes: u64,
    pub received_packets: u64,
}

impl Traffic {
    /// What came since `before`. Counters never fall; should one, nothing came.
    pub fn since(self, before: Self) -> Self {
        Self {
            sent_bytes: self.sent_bytes.saturating_sub(before.sent_bytes),
            sent_packets: self.sent_packets.saturating_sub(before.sent_packets),
            received_bytes: self.received_bytes.saturating_sub(before.received_bytes),
            received_packets: self.received_packets.saturating_sub(before.received_packets),
        }
    }
    pub fn plus(self, other: Self) -> Self {
        Self {
            sent_bytes: self.sent_bytes.saturating_add(other.sent_bytes),
            sent_packets: self.sent_packets.saturating_add(other.sent_packets),
            received_bytes: self.received_bytes.saturating_add(other.received_bytes),
            received_packets: self.received_packets.saturating_add(other.received_packets),
        }
    }
    /// So many parts of `of`, cut to whole bytes and packets.
    pub fn part(self, parts: u64, of: u64) -> Self {
        let part = |count: u64| {
            let product = u128::from(count) * u128::from(parts.min(of));
            u64::try_from(product.checked_div(u128::from(of)).unwrap_or(0)).unwrap_or(count)
        };
        Self {
            sent_bytes: part(self.sent_bytes),
            sent_packets: part(self.sent_packets),
            received_bytes: part(self.received_bytes),
            received_packets: part(self.received_packets),
        }
    }
    pub fn is_zero(self) -> bool {
        self == Self::default()
    }
}
