//! Makes the service's code from the peers' proto.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=../peer.proto");
    let files = protox::compile(["../peer.proto"], [".."])?;
    tonic_prost_build::configure().build_client(false).compile_fds(files)?;
    Ok(())
}
