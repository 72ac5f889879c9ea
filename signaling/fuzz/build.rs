//! The types of the schema, as the product has them.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=../proto/chime.proto");
    let files = protox::compile(["chime.proto"], ["../proto"])?;
    prost_build::Config::new().compile_fds(files)?;
    Ok(())
}
