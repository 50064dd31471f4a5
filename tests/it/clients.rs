//! Clients we did not write, against the program itself: what plain `cargo test` leaves to `make test`, which installs
//! them (tests/tools/setup).

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::photo::{photo, sixty_megabytes};

/// The repository.
const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Where tests/tools/setup put things.
fn tools() -> PathBuf {
    let set = std::env::var_os("WIREPHOTO_TOOLS").map(PathBuf::from);
    Path::new(ROOT).join(set.unwrap_or_else(|| "target/tools".into()))
}

/// A command that finds the tools and the program on its PATH, and nothing in its environment that steers the program.
pub fn command(name: impl AsRef<OsStr>) -> Command {
    let program = Path::new(env!("CARGO_BIN_EXE_wirephoto")).parent().expect("the program is in a folder").to_owned();
    let mut folders = vec![program, tools().join("bin"), tools().join("python/bin")];
    folders.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    let mut command = Command::new(name);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"WIREPHOTO_")) {
        command.env_remove(name);
    }
    command.env("PATH", std::env::join_paths(folders).expect("no folder has a colon in its name"));
    command.current_dir(ROOT).stdin(Stdio::null());
    command
}

/// Runs it to its end, which must be a good one, and gives what it printed.
#[track_caller]
fn done(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}: was tests/tools/setup run?"));
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{printed}\n{complaint}", output.status);
    printed
}

/// A process that says where it listens; it ends when dropped.
struct Listening {
    process: Child,
    url: String,
}

impl Listening {
    /// Starts it and reads `output` up to the line that has `before` and then the URL.
    fn start(command: &mut Command, output: impl Fn(&mut Child) -> Box<dyn Read + Send>, before: &str) -> Self {
        let mut process = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut lines = BufReader::new(output(&mut process)).lines();
        let mut said = String::new();
        let url = loop {
            let line = lines.next().and_then(Result::ok).unwrap_or_else(|| panic!("{command:?} ended: {said}"));
            if let Some((_, url)) = line.split_once(before) {
                break url.trim().to_owned();
            }
            said.push_str(&line);
            said.push('\n');
        };
        // Read on, or it would stand still once the pipe is full.
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, url }
    }

    fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn serve(command: &mut Command) -> Listening {
    let command = command.stdout(Stdio::piped()).stderr(Stdio::null());
    Listening::start(command, |child| Box::new(child.stdout.take().expect("piped")), "wirephoto listening on ")
}

/// The program serving an empty folder, and a photograph and a large image to put.
struct Desk {
    folder: TempDir,
    server: Listening,
}

impl Desk {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = format!("file:{}", folder.path().join("store").display());
        let server = serve(command("wirephoto").args(["serve", "--listen", "127.0.0.1:0", "--store", &store]));
        let desk = Self { folder, server };
        fs::write(desk.photo(), photo("photo.jpg")).expect("the folder can be written");
        fs::write(desk.large(), sixty_megabytes(0)).expect("the folder has room for 60 MB");
        desk
    }

    fn photo(&self) -> PathBuf {
        self.folder.path().join("photo.jpg")
    }

    fn large(&self) -> PathBuf {
        self.folder.path().join("large.bmp")
    }

    /// A command that is told, in the environment, of the server and the images.
    fn command(&self, name: impl AsRef<OsStr>) -> Command {
        let mut command = command(name);
        command.env("WIREPHOTO_URL", &self.server.url).env("WIREPHOTO_SERVER", &self.server.url);
        command.env("WIREPHOTO_PHOTO", self.photo()).env("WIREPHOTO_LARGE", self.large());
        command.env("PYTHONPATH", tools().join("python-stubs")).env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }

    /// Nothing may be left: each client deletes what it put.
    #[track_caller]
    fn is_empty(&self) {
        assert_eq!(done(self.command("wirephoto").args(["ls", "--json"])), "[]\n");
    }
}

#[test]
#[ignore = "needs tools: make test"]
fn python_grpcio() {
    let desk = Desk::new();
    let options = ["-q", "-p", "no:cacheprovider", "tests/clients/python"];
    done(desk.command("python").args(["-m", "pytest"]).args(options));
    desk.is_empty();
}

#[test]
#[ignore = "needs tools: make test"]
fn go_grpc() {
    let desk = Desk::new();
    done(desk.command("go").args(["test", "-count=1", "./..."]).current_dir(Path::new(ROOT).join("tests/clients/go")));
    desk.is_empty();
}

#[test]
#[ignore = "needs tools: make test"]
fn curl() {
    let desk = Desk::new();
    done(&mut desk.command("tests/clients/curl.sh"));
    desk.is_empty();
}

#[test]
#[ignore = "needs tools: make test"]
fn grpcurl() {
    let desk = Desk::new();
    done(&mut desk.command("tests/clients/grpcurl.sh"));
    desk.is_empty();
}

#[test]
#[ignore = "needs tools: make test"]
fn grpcui() {
    let desk = Desk::new();
    done(&mut desk.command("tests/clients/grpcui.sh"));
    desk.is_empty();
}

#[test]
#[ignore = "needs tools: make test"]
fn grpcurl_where_reflection_is_off() {
    let store = ["serve", "--listen", "127.0.0.1:0", "--store", "memory:", "--reflection", "off"];
    let server = serve(command("wirephoto").args(store));
    let list = "wirephoto.v1.ImageService/ListImages";
    let asked = command("grpcurl").args(["-plaintext", server.address(), list]).output().expect("grpcurl is there");
    assert!(!asked.status.success(), "reflection answered: {asked:?}");

    let folder = tempfile::tempdir().expect("a temporary folder");
    let protoset = folder.path().join("wirephoto.protoset");
    let file = fs::File::create(&protoset).expect("the folder can be written");
    assert!(command("wirephoto").arg("descriptors").stdout(file).status().expect("it runs").success());
    let told = done(command("grpcurl").args(["-plaintext", "-protoset"]).arg(&protoset).args([server.address(), list]));
    assert_eq!(told.trim(), "{}");
}

#[test]
#[ignore = "needs tools: make test"]
fn buf_curl() {
    let desk = Desk::new();
    done(&mut desk.command("tests/clients/buf_curl.sh"));
    desk.is_empty();
}

#[test]
#[ignore = "needs tools: make test"]
fn the_page_in_chromium() {
    let desk = Desk::new();
    done(desk.command("node").args(["--test", "tests/web/page.test.mjs"]));
}

#[test]
#[ignore = "needs tools: make test"]
fn the_official_grpc_web_client_in_chromium() {
    let desk = Desk::new();
    done(desk.command("node").args(["--test", "tests/web/grpc-web.test.mjs"]));
}

#[test]
#[ignore = "needs tools: make test"]
fn the_docs_in_chromium() {
    let desk = Desk::new();
    done(desk.command("node").args(["--test", "tests/web/docs.test.mjs"]));
    desk.is_empty();
}

#[test]
#[ignore = "needs tools: make test"]
fn spectral_finds_nothing_wrong_with_the_openapi_document() {
    let desk = Desk::new();
    let document = desk.folder.path().join("openapi.json");
    done(desk.command("curl").args(["-fsS", "-o"]).arg(&document).arg(format!("{}/openapi.json", desk.server.url)));
    let mut spectral = desk.command("tests/web/node_modules/.bin/spectral");
    done(spectral.args(["lint", "--fail-severity=hint", "--ruleset", "tests/tools/spectral.yaml"]).arg(&document));
}

/// Thousands of requests made of the OpenAPI document, over every operation: each answer is one that it describes.
#[test]
#[ignore = "needs tools: make test"]
fn schemathesis_finds_no_answer_that_is_not_documented() {
    let desk = Desk::new();
    let kept = format!("{}/i/kept", desk.server.url);
    done(desk.command("curl").args(["-fsS", "-T"]).arg(desk.photo()).arg(kept));
    let mut schemathesis = desk.command("schemathesis");
    schemathesis.current_dir(desk.folder.path());
    schemathesis.arg("--config-file").arg(Path::new(ROOT).join("tests/tools/schemathesis.toml"));
    schemathesis.args(["run", "--max-time", "120", "--no-color"]);
    let printed = done(schemathesis.arg(format!("{}/openapi.json", desk.server.url)));
    assert!(printed.contains("Selected: 12/12") && printed.contains("Tested: 12"), "{printed}");
}

/// Runs an example on the photograph and on the large image; it must put each, list it and get the same bytes back.
#[track_caller]
fn example(run: impl Fn(&Desk, &Path) -> Command) {
    let desk = Desk::new();
    for (image, media_type) in [(desk.photo(), " image/jpeg "), (desk.large(), " image/bmp ")] {
        let printed = done(&mut run(&desk, &image));
        let lines: Vec<&str> = printed.lines().collect();
        assert_eq!(lines.len(), 2, "{printed}");
        let size = fs::metadata(&image).expect("it was written").len();
        assert!(lines[0].starts_with("images/") && lines[0].ends_with(&format!(", {size} bytes")), "{printed}");
        assert!(lines[0].contains(media_type), "{printed}");
        assert_eq!(lines[1], "same bytes: true");
        desk.is_empty();
    }
}

#[test]
#[ignore = "needs tools: make test"]
fn example_in_rust() {
    example(|desk, image| {
        let mut command = desk.command(env!("CARGO"));
        command.args(["run", "--quiet", "--locked", "--example", "put_and_get", "--"]);
        command.arg(image).arg(&desk.server.url);
        command
    });
}

#[test]
#[ignore = "needs tools: make test"]
fn example_in_go() {
    example(|desk, image| {
        let mut command = desk.command("go");
        command.args(["run", "."]).arg(image).arg(desk.server.address());
        command.current_dir(Path::new(ROOT).join("examples/go"));
        command
    });
}

#[test]
#[ignore = "needs tools: make test"]
fn example_in_python() {
    example(|desk, image| {
        let mut command = desk.command("python");
        command.arg("examples/python/put_and_get.py").arg(image).arg(desk.server.address());
        command
    });
}

#[test]
#[ignore = "needs tools: make test"]
fn example_in_typescript() {
    let folder = Path::new(ROOT).join("examples/typescript");
    done(command("npm").args(["run", "--silent", "check"]).current_dir(&folder));
    example(|desk, image| {
        let mut command = desk.command(folder.join("node_modules/.bin/tsx"));
        command.arg("put_and_get.ts").arg(image).arg(&desk.server.url).current_dir(&folder);
        command
    });
}

#[test]
#[ignore = "needs tools: make test"]
fn example_with_curl() {
    example(|desk, image| {
        let mut command = desk.command("examples/put_and_get.sh");
        command.arg(image).arg(&desk.server.url);
        command
    });
}

/// The commands keep images in a bucket of moto's, and find them again after the server has been started anew.
#[test]
#[ignore = "needs tools: make test"]
fn a_bucket_keeps_images() {
    let mut moto = command("moto_server");
    moto.args(["-H", "127.0.0.1", "-p", "0"]).env("PYTHONUNBUFFERED", "1").stderr(Stdio::piped());
    let moto = moto.stdout(Stdio::null());
    let s3 = Listening::start(moto, |child| Box::new(child.stderr.take().expect("piped")), "Running on ");
    done(command("curl").args(["-fsS", "-X", "PUT"]).arg(format!("{}/photographs", s3.url)));
    let start = || {
        let mut server = command("wirephoto");
        server.args(["serve", "--listen", "127.0.0.1:0", "--store", "s3://photographs"]);
        server.env("AWS_ENDPOINT", &s3.url).env("AWS_ALLOW_HTTP", "true").env("AWS_REGION", "us-east-1");
        server.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test");
        serve(&mut server)
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let run = |server: &Listening, args: &[&str]| {
        done(command("wirephoto").args(args).env("WIREPHOTO_SERVER", &server.url).current_dir(folder.path()))
    };
    fs::write(folder.path().join("photo.jpg"), photo("photo.jpg")).expect("the folder can be written");
    fs::write(folder.path().join("large.bmp"), sixty_megabytes(0)).expect("the folder has room for 60 MB");

    let server = start();
    run(&server, &["put", "photo.jpg", "large.bmp"]);
    let listed = run(&server, &["ls", "--json"]);
    run(&server, &["get", "photo.jpg", "-o", "back.jpg"]);
    assert_eq!(fs::read(folder.path().join("back.jpg")).expect("it was got"), photo("photo.jpg"));

    drop(server);
    let server = start();
    assert_eq!(run(&server, &["ls", "--json"]), listed);
    run(&server, &["get", "large.bmp", "-o", "back.bmp"]);
    assert!(fs::read(folder.path().join("back.bmp")).expect("it was got") == sixty_megabytes(0));
    run(&server, &["rm", "photo.jpg", "large.bmp"]);
    assert_eq!(run(&server, &["ls", "--json"]), "[]\n");
}

/// Fenced blocks of a Markdown file, by their language.
fn blocks(file: &str, language: &str) -> Vec<String> {
    let text = fs::read_to_string(Path::new(ROOT).join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
    let mut blocks = Vec::new();
    let mut open: Option<(bool, String)> = None;
    for line in text.lines() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(found), None) => open = Some((found == language, String::new())),
            (Some(_), Some(_)) => {
                blocks.extend(open.take().filter(|(wanted, _)| *wanted).map(|(_, text)| text));
            }
            (None, Some((_, text))) => {
                text.push_str(line);
                text.push('\n');
            }
            (None, None) => {}
        }
    }
    blocks
}

/// Runs a file's shell blocks as one script, in a folder with photo.jpg and the protos, against the server.
#[track_caller]
fn run_blocks(desk: &Desk, server: &Listening, blocks: &[String]) {
    assert!(!blocks.is_empty());
    let script = blocks.concat().replace("127.0.0.1:8080", server.address());
    std::os::unix::fs::symlink(Path::new(ROOT).join("proto"), desk.folder.path().join("proto")).expect("a new name");
    let mut bash = desk.command("bash");
    bash.args(["-euxo", "pipefail", "-c", &script]).env("WIREPHOTO_SERVER", &server.url);
    done(bash.current_dir(desk.folder.path()));
}

/// The first two commands a reader sees, then the tour: word for word but for the port and the folder of the store.
#[test]
#[ignore = "needs tools: make test"]
fn the_readme_tells_the_truth() {
    let blocks = blocks("README.md", "sh");
    let commands: Vec<&str> = blocks[0].lines().collect();
    let [run, test] = commands[..] else { panic!("the first block has two commands: {commands:?}") };
    assert_eq!(test.split('#').next().map(str::trim), Some("make test"), "this test is run by it");
    let desk = Desk::new();
    let mut first = desk.command("bash");
    first.args(["-c", &format!("exec {run}")]).env("WIREPHOTO_LISTEN", "127.0.0.1:0");
    first.env("WIREPHOTO_STORE", format!("file:{}", desk.folder.path().join("readme").display()));
    let server = serve(&mut first);
    run_blocks(&desk, &server, &blocks[1..]);
}

#[test]
#[ignore = "needs tools: make test"]
fn the_guides_tell_the_truth() {
    for file in ["docs/wire.md", "docs/debugging.md", "docs/operations.md"] {
        let desk = Desk::new();
        run_blocks(&desk, &desk.server, &blocks(file, "sh"));
    }
}

#[test]
#[ignore = "needs tools: make test"]
fn the_dockerfile_and_the_scripts_are_clean() {
    done(command("hadolint").arg("Dockerfile"));
    let mut shellcheck = command("shellcheck");
    shellcheck.args(["-x", "-P", ".", ".ci/run", "tests/tools/setup", "tests/tools/buf-breaking", "tests/tools/image"]);
    shellcheck.args(["examples/put_and_get.sh"]);
    done(
        shellcheck
            .args(["curl", "grpcurl", "grpcui", "buf_curl", "lib"].map(|name| format!("tests/clients/{name}.sh"))),
    );
}
