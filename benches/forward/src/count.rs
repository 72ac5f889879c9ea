//! The system's allocator, counting what the engine asks of it.
#![allow(
    unsafe_code,
    reason = "an allocator is unsafe by its trait; every call goes to the system's allocator as it came"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

/// Counts while switched on.
pub(crate) struct Counting;

static IS_ON: AtomicBool = AtomicBool::new(false);
static CALLS: AtomicU64 = AtomicU64::new(0);
static LIVE: AtomicI64 = AtomicI64::new(0);

/// Counts what `work` allocates, and what it leaves behind.
pub(crate) fn counted<T>(work: impl FnOnce() -> T) -> T {
    IS_ON.store(true, Ordering::Relaxed);
    let result = work();
    IS_ON.store(false, Ordering::Relaxed);
    result
}

/// Allocations so far, and bytes held.
pub(crate) fn so_far() -> (u64, i64) {
    (CALLS.load(Ordering::Relaxed), LIVE.load(Ordering::Relaxed))
}

fn note(calls: u64, bytes: i64) {
    if IS_ON.load(Ordering::Relaxed) {
        // One thread works here, so nothing is lost between reading and writing, and no lock slows what is measured.
        CALLS.store(CALLS.load(Ordering::Relaxed) + calls, Ordering::Relaxed);
        LIVE.store(LIVE.load(Ordering::Relaxed) + bytes, Ordering::Relaxed);
    }
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

// SAFETY: every method hands its arguments to the system's allocator, which keeps the contract.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(1, signed(layout.size()));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(1, signed(layout.size()));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(1, signed(size) - signed(layout.size()));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(place, layout, size) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        note(0, -signed(layout.size()));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(place, layout) }
    }
}
