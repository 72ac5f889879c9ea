//! Rebuilds the migrations that are compiled in when one of them changes.

fn main() {
    println!("cargo:rerun-if-changed=../../migrations");
}
