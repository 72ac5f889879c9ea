//! Stories: the real binary, a real database and real sockets, told as the people in them would tell them.

mod crash;
mod doors;
mod join;
mod process;
mod recording;
mod store;
mod support;
mod visit;
