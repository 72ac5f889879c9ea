//! Every input that the fuzz targets keep is replayed by the ordinary tests, whole and cut short, so that a fixed crash stays fixed.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

#[path = "../../fuzz/src/lib.rs"]
#[allow(missing_docs, unreachable_pub, dead_code, clippy::indexing_slicing, reason = "a crate of its own elsewhere")]
mod targets;

fn replay(name: &str, target: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(name);
    let mut files = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        target(&bytes);
        for cut in (0..bytes.len()).step_by(7) {
            target(&bytes[..cut]);
        }
        files += 1;
    }
    assert!(files >= 3, "{files} inputs for {name}");
}

#[test]
fn classify_takes_its_corpus() {
    replay("classify", targets::classify_target);
}

#[test]
fn gate_takes_its_corpus() {
    replay("gate", targets::gate_target);
}

#[test]
fn path_takes_its_corpus() {
    replay("path", targets::path_target);
}

#[test]
fn stun_takes_its_corpus() {
    replay("stun", targets::stun_target);
}
