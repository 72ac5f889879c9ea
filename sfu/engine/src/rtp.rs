//! RTP and RTCP as borrowed views, and the little state machines that live on sequence numbers.

pub(crate) mod arrivals;
pub(crate) mod av1;
pub(crate) mod dependency;
pub(crate) mod extension;
pub(crate) mod feedback;
pub(crate) mod h264;
pub(crate) mod nack;
pub(crate) mod packet;
pub(crate) mod red;
pub(crate) mod report;
pub(crate) mod rtcp;
pub(crate) mod sequence;
pub(crate) mod vp8;
pub(crate) mod vp9;
