//! The messages of `/ws` by themselves: signaling as a whole takes minutes to build with a fuzzer's instruments, and nothing else of it
//! is asked here.

pub mod consent;

#[path = "../../src/ws/message.rs"]
pub mod message;
