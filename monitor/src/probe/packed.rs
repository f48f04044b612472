//! Samples that wait, in a third of their room: of a sample of a flow only the words that are not as in
//! one before, of the same socket if that can be. Of a flood they differ in a few. Knows no samples but
//! by their size, and where they have their socket.

use std::mem::offset_of;

use monitor_ebpf::sample::{EgressSample, FlowKey};

const SIZE: usize = size_of::<EgressSample>();
const WORD: usize = size_of::<u64>();
/// Set in the length of one of which only what differs follows, behind the bits of which words.
const DIFFERENCE: u32 = 1 << 31;
/// Samples that others are compared with, by socket. Which one is told above the length.
const PLACES: usize = 16;
const PLACE_SHIFT: u32 = 24;
const COOKIE: usize = offset_of!(EgressSample, flow) + offset_of!(FlowKey, cookie);

type Places = [[u8; SIZE]; PLACES];

const _: () = assert!(SIZE < 1 << PLACE_SHIFT && COOKIE + WORD <= SIZE);
const _: () = assert!(SIZE.is_multiple_of(WORD) && SIZE / WORD <= u64::BITS as usize);

#[derive(Debug)]
pub(super) struct Packed {
    bytes: Vec<u8>,
    last: Box<Places>,
}

impl Default for Packed {
    fn default() -> Self {
        Self { bytes: Vec::new(), last: Box::new([[0; SIZE]; PLACES]) }
    }
}

impl Packed {
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn push(&mut self, sample: &[u8]) {
        let length = sample.len() as u32;
        if sample.len() != SIZE {
            self.bytes.extend_from_slice(&length.to_ne_bytes());
            self.bytes.extend_from_slice(sample);
            return;
        }
        let place = usize::from(sample[COOKIE]) % PLACES;
        let head = length | DIFFERENCE | (place as u32) << PLACE_SHIFT;
        self.bytes.extend_from_slice(&head.to_ne_bytes());
        let last = &mut self.last[place];
        let mut which = 0_u64;
        let both = || sample.chunks_exact(WORD).zip(last.chunks_exact(WORD));
        for (number, (word, before)) in both().enumerate() {
            which |= u64::from(word != before) << number;
        }
        self.bytes.extend_from_slice(&which.to_ne_bytes());
        for (word, _) in both().filter(|(word, before)| word != before) {
            self.bytes.extend_from_slice(word);
        }
        last.copy_from_slice(sample);
    }
}

/// The same, to be taken out in order.
#[derive(Debug)]
pub(super) struct Unpacking {
    bytes: Vec<u8>,
    at: usize,
    last: Box<Places>,
}

impl Default for Unpacking {
    fn default() -> Self {
        Packed::default().into()
    }
}

impl From<Packed> for Unpacking {
    fn from(packed: Packed) -> Self {
        Self { bytes: packed.bytes, at: 0, last: Box::new([[0; SIZE]; PLACES]) }
    }
}

impl Unpacking {
    pub(super) fn is_at_end(&self) -> bool {
        self.at >= self.bytes.len()
    }

    pub(super) fn next(&mut self) -> Option<&[u8]> {
        let (length, rest) = self.bytes.get(self.at..)?.split_first_chunk::<4>()?;
        let length = u32::from_ne_bytes(*length);
        self.at += size_of::<u32>();
        if length & DIFFERENCE == 0 {
            self.at += length as usize;
            return rest.get(..length as usize);
        }
        let last = &mut self.last[(length >> PLACE_SHIFT) as usize % PLACES];
        let (which, rest) = rest.split_first_chunk::<WORD>()?;
        let mut which = u64::from_ne_bytes(*which);
        self.at += WORD + which.count_ones() as usize * WORD;
        for word in rest.chunks_exact(WORD) {
            if which == 0 {
                break;
            }
            let to = which.trailing_zeros() as usize * WORD;
            last.get_mut(to..to + WORD)?.copy_from_slice(word);
            which &= which - 1;
        }
        Some(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_come_out_as_they_went_in_whatever_their_size_and_order() {
        let flow = |number: u8| {
            let mut sample = [number % 5; SIZE];
            sample[usize::from(number)] = number;
            sample.to_vec()
        };
        let mut all: Vec<Vec<u8>> = (0..=255).map(flow).collect();
        all.insert(7, vec![1; 24]);
        all.insert(9, vec![2; 1648]);
        all.insert(11, vec![]);
        let mut packed = Packed::default();
        for sample in &all {
            packed.push(sample);
        }
        let mut unpacking = Unpacking::from(packed);
        for sample in &all {
            assert_eq!(unpacking.next(), Some(sample.as_slice()));
        }
        assert!(unpacking.is_at_end() && unpacking.next().is_none());
    }

    #[test]
    fn a_sample_much_like_the_one_before_takes_a_third_of_its_room_or_less() {
        let mut packed = Packed::default();
        let mut sample = [7; SIZE];
        packed.push(&sample);
        let before = packed.len();
        sample[40..100].fill(9);
        packed.push(&sample);
        assert!(packed.len() - before <= SIZE / 3, "{}", packed.len() - before);
    }
}
