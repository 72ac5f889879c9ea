//! A bad network between two network namespaces: what `tc netem` would do, in user space, so that it needs no kernel module.
//!
//! [`link`] decides what happens to a packet, on virtual time; [`device`] and [`namespace`] are the Linux around it; [`router`]
//! carries packets between the two; [`control`] lets a test change the network while a call runs.

pub mod conditions;
pub mod control;
pub mod device;
pub mod link;
pub mod namespace;
pub mod packet;
pub mod router;
