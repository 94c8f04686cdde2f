//! Compiles the contract without protoc: protox parses the files, tonic generates the code.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message;

const FILES: [&str; 3] = [
    "saga/v1/operator.proto",
    "saga/v1/participant.proto",
    "saga/v1/saga.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    for file in FILES {
        println!("cargo:rerun-if-changed={file}");
    }
    let descriptors = protox::compile(FILES, ["."])?;
    let out_dir = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out_dir.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        // The generated `connect(address)` of clients would clash with the rpc `Connect`.
        .build_transport(false)
        .bytes(".saga.v1")
        .compile_fds(descriptors)?;
    Ok(())
}
