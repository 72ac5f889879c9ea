//! What the programs of a comparison share: batches of datagrams, and the line protocol by which a generator gets its answers.

pub mod line;
pub mod socket;
