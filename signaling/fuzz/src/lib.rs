//! What clients send over `/ws`, and over `/control` to the Chime face, by itself: signaling as a whole takes minutes to build with a
//! fuzzer's instruments, and nothing else of it is asked here.

pub mod consent;

#[path = "../../src/ws/message.rs"]
pub mod message;

#[path = "../../src/chime/frames.rs"]
pub mod frames;
