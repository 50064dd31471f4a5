//! The command line's types. What they mean is `config`'s and `cmd`'s to say.
//!
//! Values that can also come from the environment or a file are plain text here: `config` merges and parses them, so
//! that an error can name where the value came from.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// An image server that speaks every wire: gRPC, gRPC-Web, JSON and plain HTTP on one port.
#[derive(Debug, Parser)]
#[command(
    name = "wirephoto",
    version,
    after_help = "Examples:\n  wirephoto serve\n  wirephoto put photo.jpg\n  wirephoto get photo.jpg -o copy.jpg\n\n\
                  WIREPHOTO_LOG sets what is logged on stderr, such as `info` (default) or `wirephoto=debug`.\n\
                  Exit status: 0 done, 1 failed, 64 wrong usage or configuration."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve images.
    Serve(ServeArgs),
    /// Put images on a server.
    Put(PutArgs),
    /// Get images' bytes.
    Get(GetArgs),
    /// List images.
    Ls(LsArgs),
    /// Show what is known of an image.
    Show(ShowArgs),
    /// Delete images.
    Rm(RmArgs),
    /// Ask a server whether it serves.
    Health(HealthArgs),
    /// Measure which wire moves images fastest on this machine, and at what cost.
    Bench(BenchArgs),
    /// A process of a benchmark, which the benchmark starts.
    #[command(hide = true, after_help = "`wirephoto bench` starts it: wirephoto bench-part PART")]
    BenchPart(BenchPartArgs),
    /// Print the proto's descriptors, for tools that cannot ask a server by reflection.
    #[command(after_help = "A serialised google.protobuf.FileDescriptorSet.\n\n\
                            Example:\n  wirephoto descriptors > wirephoto.protoset\n  \
                            grpcurl -plaintext -protoset wirephoto.protoset 127.0.0.1:8080 \
                            wirephoto.v1.ImageService/ListImages")]
    Descriptors,
    /// Print the version.
    #[command(after_help = "Example:\n  wirephoto version")]
    Version,
}

/// Arguments of `serve`.
#[derive(Debug, Default, Args)]
#[command(after_help = "Each value is taken from its flag, else its environment variable, else the file of --config, \
                        else its default.\nThe file's keys are the flags' names: `max-image-size = \"2GiB\"`.\n\n\
                        Examples:\n  wirephoto serve --store file:/srv/images\n  \
                        wirephoto serve --listen 0.0.0.0:8080 --allow-anonymous=read\n  \
                        wirephoto serve --tls-cert server.pem --tls-key server.key")]
pub struct ServeArgs {
    /// Address to listen on; port 0 takes a free one [default: 127.0.0.1:8080] [env: WIREPHOTO_LISTEN]
    #[arg(long, value_name = "ADDR:PORT")]
    pub listen: Option<String>,
    /// Where images are kept: file:DIR, memory:, s3://BUCKET, gs://BUCKET or az://CONTAINER
    /// [default: file:wirephoto-data] [env: WIREPHOTO_STORE]
    #[arg(long, value_name = "URL")]
    pub store: Option<String>,
    /// Largest image taken, such as 500MB or 2GiB [default: 1GiB] [env: WIREPHOTO_MAX_IMAGE_SIZE]
    #[arg(long, value_name = "SIZE")]
    pub max_image_size: Option<String>,
    /// Whether an image is on the disk itself, and not only in its cache, before it is acknowledged: on or off
    /// [default: on] [env: WIREPHOTO_FSYNC]
    #[arg(long, value_name = "SWITCH")]
    pub fsync: Option<String>,
    /// Web origin whose pages may read and write, such as `https://app.example`; repeat it, or part several by commas
    /// [env: WIREPHOTO_CORS_ORIGIN]
    #[arg(long = "cors-origin", value_name = "ORIGIN")]
    pub cors_origins: Vec<String>,
    /// Let callers without credentials in beyond loopback: read or write (also when no value is given)
    /// [env: WIREPHOTO_ALLOW_ANONYMOUS]
    #[arg(long, value_name = "ACCESS", num_args = 0..=1, require_equals = true, default_missing_value = "write")]
    pub allow_anonymous: Option<String>,
    /// Whether gRPC reflection, /docs and /openapi.json answer: on, off, or auto (on loopback only)
    /// [default: auto] [env: WIREPHOTO_REFLECTION]
    #[arg(long, value_name = "SWITCH")]
    pub reflection: Option<String>,
    /// The server's certificate and those between it and its root, a PEM file; TLS is spoken when it is given, and the
    /// file read again when it changes [env: WIREPHOTO_TLS_CERT]
    #[arg(long, value_name = "FILE")]
    pub tls_cert: Option<String>,
    /// The certificate's private key, a PEM file [env: WIREPHOTO_TLS_KEY]
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<String>,
    /// Let in only clients with a certificate of one of these CAs, a PEM file [env: WIREPHOTO_TLS_CLIENT_CA]
    #[arg(long, value_name = "FILE")]
    pub tls_client_ca: Option<String>,
    /// TOML file with any of these values [env: WIREPHOTO_CONFIG]
    #[arg(long, value_name = "FILE")]
    pub config: Option<String>,
}

/// What every client command takes.
#[derive(Debug, Default, Args)]
pub struct ClientArgs {
    /// Server to talk to; repeat it, or part several by commas: calls go to them in turn, and past those that are gone
    /// [default: `http://127.0.0.1:8080`] [env: WIREPHOTO_SERVER]
    #[arg(long = "server", value_name = "URL")]
    pub servers: Vec<String>,
    /// Longest a whole call may take, such as 30s or 5m [default: none for transfers, 30s else]
    /// [env: WIREPHOTO_TIMEOUT]
    #[arg(long, value_name = "TIME")]
    pub timeout: Option<String>,
    /// Bearer token; the variable keeps it out of the process list [env: WIREPHOTO_TOKEN]
    #[arg(long, value_name = "TOKEN")]
    pub token: Option<String>,
    /// CA that the certificate of an https server must be of, a PEM file [default: those of the system]
    /// [env: WIREPHOTO_TLS_CA]
    #[arg(long, value_name = "FILE")]
    pub tls_ca: Option<String>,
    /// Certificate to show to an https server, a PEM file [env: WIREPHOTO_TLS_CERT]
    #[arg(long, value_name = "FILE")]
    pub tls_cert: Option<String>,
    /// The certificate's private key, a PEM file [env: WIREPHOTO_TLS_KEY]
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<String>,
}

/// Arguments of `put`.
#[derive(Debug, Args)]
#[command(
    after_help = "The id is made from the file's name (`My Photo (2).jpg` becomes `my-photo-2.jpg`), which is kept \
                        as display name.\n\nExamples:\n  wirephoto put photo.jpg\n  \
                        wirephoto put -r photos --label shoot=harbour --jobs 8\n  \
                        wirephoto put photo.jpg --server https://images.example --tls-ca ca.pem\n  \
                        cat photo.jpg | wirephoto put - --name photo.jpg"
)]
pub struct PutArgs {
    /// Images to put; `-` reads one from stdin
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Id to give the image, instead of one made from the file's name
    #[arg(long, value_name = "ID")]
    pub name: Option<String>,
    /// Walk folders; names beginning with a dot and links to folders are left out
    #[arg(short, long)]
    pub recursive: bool,
    /// Replace an image of the same id
    #[arg(long)]
    pub replace: bool,
    /// Label to give each image; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    pub labels: Vec<(String, String)>,
    /// Transfers that run at once
    #[arg(short, long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub jobs: u8,
    /// Print the images as a JSON array
    #[arg(long)]
    pub json: bool,
    /// The server.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Arguments of `get`.
#[derive(Debug, Args)]
#[command(after_help = "The file appears when all of it has come and its checksums are right; one that was there is \
                        replaced. A transfer that breaks off goes on where it was.\n\nExamples:\n  \
                        wirephoto get photo.jpg\n  wirephoto get a.jpg b.jpg c.jpg -o folder --jobs 8\n  \
                        wirephoto get images/photo.jpg -o - | file -\n  \
                        wirephoto get photo.jpg --server https://a.example,https://b.example --tls-ca ca.pem")]
pub struct GetArgs {
    /// Images to get: photo.jpg or images/photo.jpg
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<String>,
    /// File or folder to write to, `-` for stdout; for several images a folder [default: the id, in the current folder]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Transfers that run at once
    #[arg(short, long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub jobs: u8,
    /// The server.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Arguments of `ls`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  wirephoto ls --order-by 'update_time desc'\n  \
                        wirephoto ls --filter 'media_type = \"image/png\" AND size_bytes > 1000000'\n  \
                        wirephoto ls --json | jq -r '.[].name'")]
pub struct LsArgs {
    /// Only images for which this holds: conditions joined by AND
    #[arg(long, value_name = "CONDITIONS", default_value = "", hide_default_value = true)]
    pub filter: String,
    /// name (default), create_time, update_time or size_bytes, each with an optional ` desc`
    #[arg(long, value_name = "FIELD", default_value = "", hide_default_value = true)]
    pub order_by: String,
    /// Print a JSON array
    #[arg(long)]
    pub json: bool,
    /// The server.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Arguments of `show`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  wirephoto show photo.jpg\n  wirephoto show photo.jpg --json | jq .sha256")]
pub struct ShowArgs {
    /// Image to show: photo.jpg or images/photo.jpg
    pub name: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// The server.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Arguments of `rm`.
#[derive(Debug, Args)]
#[command(after_help = "All are tried; the exit status is 1 when one could not be deleted.\n\nExample:\n  \
                        wirephoto rm old.jpg older.jpg --allow-missing")]
pub struct RmArgs {
    /// Images to delete: photo.jpg or images/photo.jpg
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<String>,
    /// Count an image that is not there as deleted
    #[arg(long)]
    pub allow_missing: bool,
    /// The server.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Arguments of `health`.
#[derive(Debug, Args)]
#[command(after_help = "The exit status is 1 unless all are SERVING.\n\nExamples:\n  \
                        wirephoto health --server http://images.internal:8080 --timeout 2s\n  \
                        wirephoto health --server https://images.internal --tls-cert me.pem --tls-key me.key")]
pub struct HealthArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// The server.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Arguments of `bench`.
#[derive(Debug, Default, Args)]
#[command(after_help = "Without --server it starts a server of its own, in a temporary folder, and removes both.\n\n\
                        Examples:\n  wirephoto bench --quick\n  wirephoto bench --html report.html\n  \
                        wirephoto bench --rtt 10ms --ways h1,grpc --scenarios burst,claims\n  \
                        wirephoto bench --server http://images.internal:8080 --json > report.json")]
pub struct BenchArgs {
    /// Measure this server, which runs already, as http://HOST:PORT; images are put there and deleted again
    #[arg(long, value_name = "URL")]
    pub server: Option<String>,
    /// Ways to measure, parted by commas; `grpc` stands for all that begin so [default: all]
    #[arg(long, value_name = "WAYS")]
    pub ways: Option<String>,
    /// Scenarios to measure, parted by commas; `claims` is the experiments behind the claims [default: all]
    #[arg(long, value_name = "SCENARIOS")]
    pub scenarios: Option<String>,
    /// Size of a large image [default: 60MB, --quick 20MB]
    #[arg(long, value_name = "SIZE")]
    pub size: Option<String>,
    /// How often each way is measured in each scenario [default: as the scenario needs]
    #[arg(long, value_name = "NUMBER")]
    pub rounds: Option<u32>,
    /// How long a measurement lasts in which as much as possible goes through [default: 500ms, --quick 100ms]
    #[arg(long, value_name = "TIME")]
    pub duration: Option<String>,
    /// Requests at once where as much as possible goes through [default: 8, --quick 4]
    #[arg(long, value_name = "NUMBER")]
    pub concurrency: Option<u32>,
    /// Sizes of messages in which the claim on chunks is tried, parted by commas [default: 4KiB,64KiB,1MiB]
    #[arg(long, value_name = "SIZES")]
    pub chunk: Option<String>,
    /// Distance to add, there and back, such as 10ms
    #[arg(long, value_name = "TIME")]
    pub rtt: Option<String>,
    /// Line to emulate, such as 100mbit or 1gbit
    #[arg(long, value_name = "BITS")]
    pub bandwidth: Option<String>,
    /// Speak TLS
    #[arg(long)]
    pub tls: bool,
    /// Take half a minute rather than five: smaller images, without the scenarios that wait, and less sure
    #[arg(long)]
    pub quick: bool,
    /// Write a page with plots to this file
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Print JSON (docs/benchmarks.md describes it) instead of tables
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `bench-part`.
#[derive(Debug, Args)]
pub struct BenchPartArgs {
    /// Which part.
    #[command(subcommand)]
    pub part: BenchPart,
}

/// The processes of a benchmark. Each ends when its stdin does.
#[derive(Debug, Subcommand)]
pub enum BenchPart {
    /// `serve`.
    Server(ServeArgs),
    /// The benchmark's own endpoint.
    Endpoint {
        /// Folder of images.
        #[arg(long)]
        folder: PathBuf,
        /// Certificate.
        #[arg(long, requires = "tls_key")]
        tls_cert: Option<PathBuf>,
        /// Its key.
        #[arg(long)]
        tls_key: Option<PathBuf>,
    },
    /// A client that goes one way.
    Client,
    /// A relay that adds distance.
    Relay {
        /// Where it leads.
        #[arg(long)]
        to: std::net::SocketAddr,
        /// Microseconds there and back.
        #[arg(long)]
        rtt_us: u64,
        /// Microseconds the first connection stands still.
        #[arg(long)]
        stall_us: u64,
        /// Bits a second.
        #[arg(long)]
        bits: Option<u64>,
    },
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE, such as team=press".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::Cli;

    #[test]
    fn the_definition_is_sound_and_every_command_shows_an_example() {
        Cli::command().debug_assert();
        for command in Cli::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains(&format!("wirephoto {}", command.get_name())), "{}", command.get_name());
        }
    }

    #[test]
    fn every_flag_with_an_environment_name_says_it() {
        let command = Cli::command();
        let serve = command.find_subcommand("serve").unwrap();
        for flag in serve.get_arguments().filter_map(|argument| argument.get_long()).filter(|flag| *flag != "help") {
            let variable = format!("[env: WIREPHOTO_{}]", flag.replace('-', "_").to_uppercase());
            let argument = serve.get_arguments().find(|argument| argument.get_long() == Some(flag)).unwrap();
            assert!(argument.get_help().unwrap().to_string().contains(&variable), "{flag}");
        }
    }
}
