//! The canonical API, `/api/v1/telehealth`, in which applications of the second, third and fourth face find their own words: bodies are
//! read as they send them, answers are supersets of what they read. It translates; every guard, move and audit row is in the slices'
//! command functions.

pub mod door;
pub mod join;
pub mod provider;
pub mod recording;
pub(crate) mod routes;
pub mod screen_share;
pub mod session;
