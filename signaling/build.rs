//! Makes Rust types of `proto/chime.proto`, without a protobuf compiler of the system.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto/chime.proto");
    let files = protox::compile(["chime.proto"], ["proto"])?;
    prost_build::Config::new().compile_fds(files)?;
    Ok(())
}
