//! The crate's Error: why an Engine or a Peer's path could not be made.

/// What can fail while an Engine is made or a Peer's path is set up. Bytes from the network never lead here:
/// what makes no sense there is counted and dropped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The DTLS certificate could not be made.
    #[error("the DTLS identity could not be made: {0}")]
    Identity(String),
    /// The other side's parameters cannot be used; the text holds nothing of theirs.
    #[error("the remote parameters cannot be used: {0}")]
    Remote(&'static str),
    /// The configuration cannot work.
    #[error("the configuration cannot work: {0}")]
    Config(&'static str),
}
