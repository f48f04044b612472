//! Columns of numbers, one after the other: how starts of ranges and names lie in a file. Knows nothing
//! of what they mean.

use crate::AssetError;

const TOO_FAR: AssetError = AssetError::Inconsistent("a start beyond the address space");

/// Columns 1 and 2. No distance is 0.
pub(crate) fn push_distances<I: Iterator<Item = u64>>(
    out: &mut Vec<u8>,
    distances: &dyn Fn() -> I,
) {
    out.extend(distances().map(|distance| distance.trailing_zeros() as u8));
    for distance in distances() {
        push_leb128(out, distance >> distance.trailing_zeros() >> 1);
    }
}

pub(crate) fn push_leb128(out: &mut Vec<u8>, mut rest: u64) {
    while rest > 0x7f {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// What is left to read.
pub(crate) struct Cursor<'a>(pub(crate) &'a [u8]);

impl<'a> Cursor<'a> {
    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], AssetError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(AssetError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], AssetError> {
        self.take(N)?.try_into().map_err(|_| AssetError::Truncated)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, AssetError> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, AssetError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, AssetError> {
        self.array().map(u64::from_le_bytes)
    }

    #[inline]
    pub(crate) fn leb128(&mut self) -> Result<u64, AssetError> {
        let mut value = 0_u64;
        for (at, shift) in (0..64).step_by(7).enumerate() {
            let byte = *self.0.get(at).ok_or(AssetError::Truncated)?;
            let part = u64::from(byte & 0x7f);
            if shift == 63 && part > 1 {
                break;
            }
            value |= part << shift;
            if byte & 0x80 == 0 {
                self.0 = &self.0[at + 1..];
                return Ok(value);
            }
        }
        Err(AssetError::Inconsistent("a number of more than 64 bits"))
    }

    /// Of a family of `count` ranges, columns 1 and 2: strictly ascending from 0.
    pub(crate) fn starts<K: TryFrom<u64>>(&mut self, count: usize) -> Result<Vec<K>, AssetError> {
        if count == 0 {
            return Err(AssetError::Inconsistent("a family without ranges"));
        }
        let shifts = self.take(count - 1)?;
        let mut starts = Vec::with_capacity(count);
        let mut start = 0_u64;
        starts.push(K::try_from(start).map_err(|_| TOO_FAR)?);
        for &shift in shifts {
            start = self.start_after(start, shift)?;
            starts.push(K::try_from(start).map_err(|_| TOO_FAR)?);
        }
        Ok(starts)
    }

    /// The next `count` lines of text, each with its end.
    pub(crate) fn lines(&mut self, count: usize) -> Result<&'a str, AssetError> {
        let ends = self.0.iter().zip(1..).filter(|(byte, _)| **byte == b'\n');
        let bytes = match count.checked_sub(1) {
            None => 0,
            Some(last) => ends.map(|(_, end)| end).nth(last).ok_or(AssetError::Truncated)?,
        };
        str::from_utf8(self.take(bytes)?)
            .map_err(|_| AssetError::Inconsistent("a name is not UTF-8"))
    }

    /// The start after `start`, by the next distance of column 2.
    #[inline]
    fn start_after(&mut self, start: u64, shift: u8) -> Result<u64, AssetError> {
        let half = self.leb128()?;
        // `distance >> shift` is odd and not 0, so the starts ascend strictly.
        let odd = half << 1 | 1;
        if half >> 63 != 0 || u32::from(shift) > odd.leading_zeros() {
            return Err(TOO_FAR);
        }
        start.checked_add(odd << shift).ok_or(TOO_FAR)
    }

    /// The source's name with its length before it, and the codes of `countries` classes.
    pub(crate) fn names(&mut self, countries: usize) -> Result<(String, Vec<[u8; 2]>), AssetError> {
        let bytes = usize::from(self.u16()?);
        let source = str::from_utf8(self.take(bytes)?)
            .map_err(|_| AssetError::Inconsistent("the source's name is not UTF-8"))?
            .to_owned();
        let codes: Vec<[u8; 2]> =
            self.take(2 * countries)?.chunks_exact(2).map(|code| [code[0], code[1]]).collect();
        if countries > 255 || !codes.as_flattened().iter().all(u8::is_ascii_uppercase) {
            return Err(AssetError::Inconsistent("the country codes"));
        }
        Ok((source, codes))
    }
}
