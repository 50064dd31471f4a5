//! Makes the service's code from the peers' proto.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    connectrpc_build::Config::new()
        .files(&["../peer.proto"])
        .includes(&[".."])
        .include_file("_connectrpc.rs")
        .compile()?;
    Ok(())
}
