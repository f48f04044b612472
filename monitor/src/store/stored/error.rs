//! Why a stored form can't be read.

/// Bytes that decode to nothing that this version knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::store) enum FormError {
    #[error("malformed bytes")]
    Malformed,
    #[error("an unknown {0}")]
    Unknown(&'static str),
    #[error("a reference to what is not in the block's tables")]
    Dangling,
}
