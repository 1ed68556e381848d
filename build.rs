//! Compiles our `.proto` files, without `protoc`: the control plane's into Rust and into the file
//! descriptor set that reflection serves, the storage's into Rust.

use std::{env, error::Error, fs, path::PathBuf};

const CONTROL: &str = "skep/control/v1/control.proto";
const STORAGE: &str = "skep/storage/v1/note.proto";

fn main() -> Result<(), Box<dyn Error>> {
    let descriptors = |file: &str| {
        println!("cargo::rerun-if-changed=proto/{file}");
        let mut compiler = protox::Compiler::new(["proto"])?;
        compiler.include_source_info(true).include_imports(true).open_file(file)?;
        Ok::<_, Box<dyn Error>>(compiler.file_descriptor_set())
    };
    let control = descriptors(CONTROL)?;
    let out = PathBuf::from(env::var("OUT_DIR")?).join("control.bin");
    fs::write(out, prost::Message::encode_to_vec(&control))?;
    // The console's API is the same messages as JSON.
    tonic_prost_build::configure()
        .build_client(true)
        .type_attribute(".", "#[derive(serde::Serialize)]")
        .field_attribute(
            "skep.control.v1.Component.state",
            "#[serde(serialize_with = \"crate::admin::state_name\")]",
        )
        .field_attribute(
            "skep.control.v1.Ladder.state",
            "#[serde(serialize_with = \"crate::admin::rung_state_name\")]",
        )
        .field_attribute(
            "skep.control.v1.Rung.state",
            "#[serde(serialize_with = \"crate::admin::rung_state_name\")]",
        )
        .compile_fds(control)?;
    tonic_prost_build::configure().build_client(false).compile_fds(descriptors(STORAGE)?)?;
    Ok(())
}
