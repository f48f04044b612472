//! Bytes from the ring buffer to samples. Pure; a malformed sample is an error to be counted, never
//! a panic.

use monitor_ebpf::{
    places::verdict,
    sample::{
        EgressSample, ExecSample, ExitSample, ForkSample, NameHead, SenderSample, SocketEndSample,
        kind, ownership, path_end, phase, told,
    },
};
use zerocopy::FromBytes;

use crate::{event::Verdict, names::NameSample};

/// What the probes tell.
#[derive(Clone, Debug)]
pub enum Sample {
    Egress(Box<EgressSample>),
    SocketEnd(SocketEndSample),
    Exec(Box<ExecSample>),
    Fork(ForkSample),
    Exit(ExitSample),
    Name(NameSample),
    Sender(SenderSample),
}

/// Why bytes are no sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("a sample of {bytes} bytes is too short for its kind")]
    Length { bytes: usize },
    #[error("no sample has kind {kind}")]
    Kind { kind: u32 },
    #[error("a field has the value {value}, which means nothing")]
    Value { value: u32 },
}

impl DecodeError {
    /// Every value of the `reason` label of `geofenced_decode_errors_total`.
    pub const REASONS: [&str; 3] = ["length", "kind", "value"];

    pub fn reason(self) -> &'static str {
        match self {
            Self::Length { .. } => "length",
            Self::Kind { .. } => "kind",
            Self::Value { .. } => "value",
        }
    }
}

/// The verdict that a sample carries; `None` where the probes had none.
pub fn verdict(byte: u8) -> Option<Verdict> {
    match byte {
        verdict::UNAPPROVED => Some(Verdict::Unapproved),
        verdict::UNKNOWN => Some(Verdict::Unknown),
        verdict::APPROVED => Some(Verdict::Approved),
        verdict::LOCAL => Some(Verdict::Local),
        _ => None,
    }
}

/// The kernel may pad a sample at its end; it never shortens one.
pub fn decode(bytes: &[u8]) -> Result<Sample, DecodeError> {
    let length = || DecodeError::Length { bytes: bytes.len() };
    let (first, _) = bytes.split_first_chunk::<4>().ok_or_else(length)?;
    match u32::from_ne_bytes(*first) {
        kind::EGRESS => egress(Box::new(read(bytes)?)),
        kind::SOCKET_END => Ok(Sample::SocketEnd(read(bytes)?)),
        kind::EXEC => exec(Box::new(read(bytes)?)),
        kind::FORK => Ok(Sample::Fork(read(bytes)?)),
        kind::EXIT => Ok(Sample::Exit(read(bytes)?)),
        kind::NAME => name(bytes),
        kind::SENDER => Ok(Sample::Sender(read(bytes)?)),
        kind => Err(DecodeError::Kind { kind }),
    }
}

fn read<T: FromBytes>(bytes: &[u8]) -> Result<T, DecodeError> {
    let read = T::read_from_prefix(bytes).ok();
    read.map(|(sample, _)| sample).ok_or(DecodeError::Length { bytes: bytes.len() })
}

fn egress(sample: Box<EgressSample>) -> Result<Sample, DecodeError> {
    if sample.phase > phase::SENT {
        return Err(DecodeError::Value { value: sample.phase.into() });
    }
    if sample.ownership > ownership::LISTENER {
        return Err(DecodeError::Value { value: sample.ownership.into() });
    }
    if sample.verdict > verdict::LOCAL {
        return Err(DecodeError::Value { value: sample.verdict.into() });
    }
    Ok(Sample::Egress(sample))
}

fn exec(sample: Box<ExecSample>) -> Result<Sample, DecodeError> {
    if sample.filename_bytes as usize > sample.filename.len() {
        return Err(DecodeError::Value { value: sample.filename_bytes });
    }
    if sample.path_bytes as usize > sample.path.len() {
        return Err(DecodeError::Value { value: sample.path_bytes });
    }
    if sample.path_end > path_end::DETACHED {
        return Err(DecodeError::Value { value: sample.path_end });
    }
    Ok(Sample::Exec(sample))
}

fn name(bytes: &[u8]) -> Result<Sample, DecodeError> {
    let head: NameHead = read(bytes)?;
    if !(told::ANSWER..=told::PLAIN).contains(&head.what) {
        return Err(DecodeError::Value { value: head.what.into() });
    }
    let payload =
        bytes.get(size_of::<NameHead>()..).and_then(|rest| rest.get(..head.bytes as usize));
    let payload = payload.ok_or(DecodeError::Length { bytes: bytes.len() })?.to_vec();
    Ok(Sample::Name(NameSample { head, payload }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use zerocopy::IntoBytes;

    #[test]
    fn each_reason_is_a_label() {
        let errors = [
            DecodeError::Length { bytes: 0 },
            DecodeError::Kind { kind: 0 },
            DecodeError::Value { value: 0 },
        ];
        assert_eq!(errors.map(DecodeError::reason), DecodeError::REASONS);
    }

    #[test]
    fn a_sample_that_says_nonsense_is_refused() {
        let mut sample = EgressSample { kind: kind::EGRESS, phase: 2, ..EgressSample::default() };
        assert_eq!(decode(sample.as_bytes()).unwrap_err(), DecodeError::Value { value: 2 });
        sample.phase = phase::SENT;
        sample.ownership = 9;
        assert_eq!(decode(sample.as_bytes()).unwrap_err(), DecodeError::Value { value: 9 });
        sample.ownership = ownership::USER;
        sample.verdict = 5;
        assert_eq!(decode(sample.as_bytes()).unwrap_err(), DecodeError::Value { value: 5 });
        sample.verdict = verdict::LOCAL;
        assert!(matches!(decode(sample.as_bytes()), Ok(Sample::Egress(_))));
    }

    #[test]
    fn a_packet_is_as_long_as_it_says_or_refused() {
        let head = NameHead { kind: kind::NAME, what: told::TLS, bytes: 3, ..NameHead::default() };
        let mut bytes = head.as_bytes().to_vec();
        bytes.extend([1, 2]);
        assert_eq!(decode(&bytes).unwrap_err(), DecodeError::Length { bytes: bytes.len() });
        bytes.extend([3, 4]);
        let Ok(Sample::Name(sample)) = decode(&bytes) else { panic!("no name") };
        assert_eq!(sample.payload, [1, 2, 3]);
        bytes[4] = 9;
        assert_eq!(decode(&bytes).unwrap_err(), DecodeError::Value { value: 9 });
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(kind in 0_u32..8, rest in prop::collection::vec(any::<u8>(), 0..400)) {
            let mut bytes = kind.to_ne_bytes().to_vec();
            bytes.extend(rest);
            let _ = decode(&bytes);
            for cut in 0..bytes.len().min(6) {
                let _ = decode(&bytes[..cut]);
            }
        }
    }
}
