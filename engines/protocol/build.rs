//! Generates the gRPC messages and services from `proto/`, with no `protoc` installed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = [
        "proto/controller.proto",
        "proto/engine.proto",
        "proto/launcher.proto",
        "proto/rows.proto",
    ];
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(files, ["proto"])?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
