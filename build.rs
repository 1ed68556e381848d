//! Compiles the control plane's `.proto` files, without `protoc`, into Rust and into the file
//! descriptor set that reflection serves.

use std::{env, error::Error, fs, path::PathBuf};

const PROTO: &str = "proto/skep/control/v1/control.proto";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={PROTO}");
    let descriptors = protox::Compiler::new(["proto"])?
        .include_source_info(true)
        .include_imports(true)
        .open_file("skep/control/v1/control.proto")?
        .file_descriptor_set();
    let out = PathBuf::from(env::var("OUT_DIR")?).join("control.bin");
    fs::write(out, prost::Message::encode_to_vec(&descriptors))?;
    tonic_prost_build::configure().build_client(true).compile_fds(descriptors)?;
    Ok(())
}
