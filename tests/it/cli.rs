//! The program itself, run as a person or a script runs it: its files, its words and its exit status.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::{BufRead as _, BufReader, Cursor, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use prost::Message as _;
use serde_json::Value;
use tempfile::TempDir;
use wirephoto::proto::wirephoto::v1::{ChecksummedData, ContentRange, DownloadImageResponse, Image};

/// A folder to work in, and a server on an empty store beside it.
struct Desk {
    folder: TempDir,
    _store: TempDir,
    server: Child,
    url: String,
}

impl Desk {
    fn new() -> Self {
        let store = tempfile::tempdir().unwrap();
        let mut server = program()
            .args(["serve", "--listen", "127.0.0.1:0", "--store"])
            .arg(format!("file:{}", store.path().display()))
            .env("WIREPHOTO_LOG", "warn")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("wirephoto listening on ").unwrap_or_else(|| panic!("{line:?}")).to_owned();
        Self { folder: tempfile::tempdir().unwrap(), _store: store, server, url }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = program();
        command.args(args).env("WIREPHOTO_SERVER", &self.url).current_dir(self.folder.path());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs it, and it must succeed; gives stdout.
    fn done(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs it, and it must fail with exit status 1; gives stderr.
    fn fails(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {output:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    fn write(&self, name: &str, content: &[u8]) {
        fs::write(self.folder.path().join(name), content).unwrap();
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.folder.path().join(name)).unwrap()
    }

    fn files(&self) -> Vec<String> {
        files(self.folder.path())
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.server.kill().unwrap();
        self.server.wait().unwrap();
    }
}

/// The program, with nothing of the caller's environment that would steer it.
fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wirephoto"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"WIREPHOTO_")) {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

fn files(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

/// A picture that differs with `seed`.
fn picture(seed: u8, format: image::ImageFormat, width: u32, height: u32) -> Vec<u8> {
    let pixels = image::RgbImage::from_fn(width, height, |x, y| {
        image::Rgb([(x as u8).wrapping_mul(31) ^ seed, (y as u8).wrapping_mul(17), (x ^ y) as u8])
    });
    let mut bytes = Cursor::new(Vec::new());
    pixels.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn png(seed: u8) -> Vec<u8> {
    picture(seed, image::ImageFormat::Png, 40, 30)
}

#[test]
fn what_was_half_got_is_gone_when_it_is_told_to_stop() {
    let desk = Desk::new();
    let large = crate::photo::sixty_megabytes(8);
    desk.write("large.bmp", &large);
    desk.done(&["put", "large.bmp"]);
    fs::remove_file(desk.folder.path().join("large.bmp")).unwrap();
    let tell = |process: &Child, signal: &str| {
        assert!(Command::new("kill").args([signal, &process.id().to_string()]).status().unwrap().success());
    };
    let half = |files: &[String]| files.iter().any(|name| name.ends_with(".part"));
    for signal in ["-INT", "-TERM"] {
        // It is fast: until it is caught in the middle.
        let mut caught = false;
        while !caught {
            let mut get = desk.command(&["get", "large.bmp"]).stderr(Stdio::null()).spawn().unwrap();
            while !half(&desk.files()) && get.try_wait().unwrap().is_none() {}
            if get.try_wait().unwrap().is_none() {
                for signal in ["-STOP", signal, "-CONT"] {
                    tell(&get, signal);
                }
            }
            caught = get.wait().unwrap().code() == Some(1);
            let left = desk.files();
            assert!(!half(&left) && (left.is_empty() || !caught), "{signal}: {left:?}");
            left.iter().for_each(|name| fs::remove_file(desk.folder.path().join(name)).unwrap());
        }
    }
}

#[test]
fn a_picture_goes_in_and_comes_back() {
    let desk = Desk::new();
    let content = png(1);
    desk.write("My Photo (2).png", &content);
    let told = desk.done(&["put", "My Photo (2).png", "--label", "team=press"]);
    assert!(told.starts_with("created images/my-photo-2.png  image/png  40x30  "), "{told}");

    assert_eq!(desk.done(&["get", "my-photo-2.png"]), "");
    assert_eq!(desk.read("my-photo-2.png"), content);
    desk.done(&["get", "images/my-photo-2.png", "-o", "copy.png"]);
    assert_eq!(desk.read("copy.png"), content);
    let piped = desk.run(&["get", "my-photo-2.png", "-o", "-"]);
    assert!(piped.status.success() && piped.stdout == content);
    fs::create_dir(desk.folder.path().join("folder")).unwrap();
    desk.done(&["get", "my-photo-2.png", "-o", "folder"]);
    assert_eq!(desk.read("folder/my-photo-2.png"), content);
    assert_eq!(desk.files(), ["My Photo (2).png", "copy.png", "folder", "my-photo-2.png"]);

    let shown = desk.done(&["show", "my-photo-2.png"]);
    for line in ["display name  My Photo (2).png", "label         team=press", "pixels        40x30"] {
        assert!(shown.contains(line), "{shown}");
    }
    let shown: Value = serde_json::from_str(&desk.done(&["show", "my-photo-2.png", "--json"])).unwrap();
    assert_eq!(shown["displayName"], "My Photo (2).png");
    assert_eq!(shown["sizeBytes"], content.len().to_string());

    desk.done(&["rm", "my-photo-2.png"]);
    let error = desk.fails(&["get", "my-photo-2.png", "-o", "gone.png"]);
    assert!(error.starts_with("wirephoto: ") && error.contains("images/my-photo-2.png"), "{error}");
    assert!(!desk.files().contains(&"gone.png".to_owned()));
}

#[test]
fn a_large_picture_goes_in_many_chunks() {
    let desk = Desk::new();
    let content = picture(1, image::ImageFormat::Bmp, 3000, 2500);
    assert!(content.len() > 20 << 20);
    desk.write("large.bmp", &content);
    desk.done(&["put", "large.bmp"]);
    desk.done(&["get", "large.bmp", "-o", "copy.bmp"]);
    assert!(desk.read("copy.bmp") == content);

    // Refused while most of it is still to be sent: the server's reason arrives, not a broken connection.
    assert!(desk.fails(&["put", "large.bmp"]).contains("--replace"));
    desk.write("large.txt", &vec![b'x'; 20 << 20]);
    let error = desk.fails(&["put", "large.txt"]);
    assert!(error.contains("large.txt: ") && error.contains("image"), "{error}");
    assert_eq!(desk.done(&["ls"]).lines().count(), 2);
}

#[test]
fn a_name_that_is_taken_is_replaced_only_on_request() {
    let desk = Desk::new();
    desk.write("a.png", &png(1));
    desk.done(&["put", "a.png"]);
    desk.write("a.png", &png(2));
    let error = desk.fails(&["put", "a.png"]);
    assert!(error.starts_with("wirephoto: a.png: ") && error.contains("--replace"), "{error}");
    desk.done(&["get", "a.png", "-o", "kept.png"]);
    assert_eq!(desk.read("kept.png"), png(1));
    assert!(desk.done(&["put", "a.png", "--replace"]).starts_with("replaced images/a.png"));
    desk.done(&["get", "a.png", "-o", "kept.png"]);
    assert_eq!(desk.read("kept.png"), png(2));
}

#[test]
fn a_folder_is_walked_and_what_fails_is_told() {
    let desk = Desk::new();
    fs::create_dir_all(desk.folder.path().join("photos/deep")).unwrap();
    desk.write("photos/A.png", &png(1));
    desk.write("photos/deep/b.png", &png(2));
    desk.write("photos/deep/notes.txt", b"no picture");
    desk.write("photos/deep/z a.png", &png(3));
    desk.write("photos/z_.png", &png(4));
    desk.write("photos/.hidden", b"not looked at");
    let error = desk.fails(&["put", "photos"]);
    assert!(error.contains("photos: it is a folder") && error.contains("-r"), "{error}");

    let output = desk.run(&["put", "-r", "photos", "missing.png", "--json"]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("photos/deep/notes.txt: ") && error.contains("missing.png: "), "{error}");
    assert_eq!(error.lines().count(), 2, "{error}");
    let put: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let names: Vec<&str> = put.iter().map(|image| image["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["images/a.png", "images/b.png", "images/z-a.png", "images/z.png"]);
}

#[test]
fn two_files_of_one_id_are_not_put_over_each_other() {
    let desk = Desk::new();
    desk.write("My Cat.png", &png(1));
    desk.write("my-cat.png", &png(2));
    let error = desk.fails(&["put", "My Cat.png", "my-cat.png", "--replace"]);
    assert!(error.contains("my-cat.png: ") && error.contains("My Cat.png") && error.contains("--name"), "{error}");
    desk.done(&["get", "my-cat.png", "-o", "kept.png"]);
    assert_eq!(desk.read("kept.png"), png(1));
}

#[test]
fn stdin_is_an_image_too() {
    let desk = Desk::new();
    let mut put =
        desk.command(&["put", "-", "--name", "piped.png"]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    put.stdin.take().unwrap().write_all(&png(7)).unwrap();
    assert!(put.wait().unwrap().success());
    assert_eq!(desk.run(&["get", "piped.png", "-o", "-"]).stdout, png(7));
}

#[test]
fn a_listing_is_a_table_or_an_array() {
    let desk = Desk::new();
    assert_eq!(desk.done(&["ls"]), "");
    assert_eq!(desk.done(&["ls", "--json"]), "[]\n");
    for (seed, name) in [(1, "b.png"), (2, "a.png"), (3, "c.png")] {
        desk.write(name, &png(seed));
        desk.done(&["put", name, "--label", &format!("seed=s{seed}")]);
    }
    let table = desk.done(&["ls"]);
    let first: Vec<&str> = table.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(first, ["NAME", "a.png", "b.png", "c.png"]);
    let names = |args: &[&str]| -> Vec<String> {
        let images: Vec<Image> = serde_json::from_str(&desk.done(args)).unwrap();
        images.into_iter().map(|image| image.name).collect()
    };
    assert_eq!(names(&["ls", "--json", "--order-by", "name desc"]), ["images/c.png", "images/b.png", "images/a.png"]);
    assert_eq!(names(&["ls", "--json", "--filter", "labels.seed = \"s2\""]), ["images/a.png"]);
    let error = desk.fails(&["ls", "--order-by", "colour"]);
    assert!(error.contains("order_by") || error.contains("colour"), "{error}");
}

#[test]
fn all_are_tried_when_one_cannot_be_deleted() {
    let desk = Desk::new();
    for name in ["a.png", "b.png"] {
        desk.write(name, &png(1));
    }
    desk.done(&["put", "a.png", "b.png"]);
    let error = desk.fails(&["rm", "a.png", "gone.png", "images/b.png"]);
    assert!(error.starts_with("wirephoto: gone.png: ") && error.lines().count() == 1, "{error}");
    assert_eq!(desk.done(&["ls"]), "");
    desk.done(&["rm", "--allow-missing", "gone.png"]);
}

#[test]
fn a_device_is_written_to_and_stays_a_device() {
    let desk = Desk::new();
    desk.write("a.png", &png(1));
    desk.done(&["put", "a.png"]);
    desk.done(&["get", "a.png", "-o", "/dev/null"]);
    let error = desk.fails(&["get", "a.png", "-o", "/dev/full"]);
    assert!(error.contains("/dev/full") && error.contains("space"), "{error}");
    for device in ["/dev/null", "/dev/full"] {
        assert!(fs::metadata(device).unwrap().file_type().is_char_device());
    }
    let error = desk.fails(&["get", "a.png", "-o", "missing/a.png"]);
    assert!(error.contains("missing/a.png"), "{error}");
}

#[test]
fn health_is_asked_of_the_server_and_its_service() {
    let desk = Desk::new();
    let told = desk.done(&["health"]);
    assert_eq!(told.matches("  SERVING").count(), 2, "{told}");
    let told: Value = serde_json::from_str(&desk.done(&["health", "--json"])).unwrap();
    assert_eq!(told["services"][1]["service"], "wirephoto.v1.ImageService");
    assert_eq!(told["services"][1]["status"], "SERVING");
}

#[test]
fn a_server_that_is_not_there_is_named_with_the_way_to_start_one() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let server = format!("http://127.0.0.1:{port}");
    let folder = tempfile::tempdir().unwrap();
    for args in [&["get", "a.png"][..], &["ls"], &["health"], &["rm", "a", "b"], &["put", "a.png", "b.png"]] {
        fs::write(folder.path().join("a.png"), png(1)).unwrap();
        fs::write(folder.path().join("b.png"), png(1)).unwrap();
        let output = program().args(args).args(["--server", &server]).current_dir(folder.path()).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{args:?}: {error}");
        assert!(error.contains(&format!("cannot reach {server}: ")) && error.contains("wirephoto serve"), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
        assert_eq!(files(folder.path()), ["a.png", "b.png"]);
    }
}

#[test]
fn wrong_usage_exits_64_before_anything_is_done() {
    // Nobody listens there: whoever got as far as a call would exit with 1.
    let server = "--server=http://127.0.0.1:9";
    for (args, parts) in [
        (&[][..], &["Usage"][..]),
        (&["shrink"], &["shrink"]),
        (&["put"], &["<FILE>"]),
        (&["put", "-", server], &["--name"]),
        (&["put", "-", "-", "--name=a", server], &["--name"]),
        (&["put", "a", "b", "--name=c", server], &["--name"]),
        (&["put", "a", "--name=../c", server], &["../c"]),
        (&["put", "a", "--name=images/c", server], &["images/c", "--name"]),
        (&["put", "a", "--label=x", server], &["KEY=VALUE"]),
        (&["get", "../etc/passwd", server], &["../etc/passwd", "images/photo.jpg"]),
        (&["get", "images/a/b", server], &["images/a/b"]),
        (&["show", "a\x1b[2J", server], &["a\\u{1b}[2J"]),
        (&["rm", "a", "..", server], &["`..`"]),
        (&["ls", "--server=localhost:80"], &["--server", "http://HOST:PORT"]),
        (&["ls", "--server=ftp://localhost"], &["--server", "https://HOST:PORT"]),
        (&["ls", "--server=http://a,http://b/c"], &["--server", "`http://b/c`", "a path"]),
        (&["ls", "--tls-ca=ca.pem", server], &["--tls-ca", server.trim_start_matches("--server="), "https://"]),
        (&["ls", "--tls-ca=/nonexistent", "--server=https://a"], &["the CA `/nonexistent` cannot be read"]),
        (&["get", "a", "b", "-o", "-", server], &["-o", "`-`", "folder"]),
        (&["get", "a", "--jobs=0", server], &["--jobs", "1..=64"]),
        (&["ls", "--timeout=30", server], &["--timeout: `30`", "30s"]),
        (&["ls", "--token=a b", server], &["--token", "token"]),
        (&["serve", "--listen=nowhere"], &["--listen: `nowhere`"]),
        (&["serve", "--listen=0.0.0.0:0"], &["0.0.0.0:0", "--allow-anonymous"]),
        (&["serve", "--store=nowhere"], &["--store", "file:nowhere"]),
        (&["serve", "--max-image-size=1G"], &["--max-image-size", "GiB"]),
        (&["serve", "--config=/nonexistent"], &["--config", "/nonexistent"]),
    ] {
        let output = program().args(args).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{args:?}: {error}");
        assert!(error.starts_with("wirephoto: ") || args.is_empty(), "{args:?}: {error}");
        assert!(parts.iter().all(|part| error.contains(part)), "{args:?}: {error}");
        assert!(output.stdout.is_empty(), "{args:?}");
    }
    for (name, value) in [
        ("WIREPHOTO_LISTEN", "nowhere"),
        ("WIREPHOTO_FSYNC", "perhaps"),
        ("WIREPHOTO_CORS_ORIGIN", "*"),
        ("WIREPHOTO_LOG", "a=b=c"),
        ("WIREPHOTO_LOG", "warning"),
    ] {
        let output = program().arg("serve").env(name, value).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{name}: {error}");
        assert!(error.contains(&format!("{name}: `{value}`")), "{error}");
    }
}

#[test]
fn help_and_version_are_answers() {
    for args in [&["--help"][..], &["serve", "--help"], &["put", "--help"], &["get", "-h"]] {
        let output = program().args(args).output().unwrap();
        let help = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert!(help.contains("Example") && output.stderr.is_empty(), "{help}");
    }
    let version = concat!("wirephoto ", env!("CARGO_PKG_VERSION"), "\n");
    for arg in ["version", "--version"] {
        assert_eq!(program().arg(arg).output().unwrap().stdout, version.as_bytes());
    }
}

#[test]
fn a_reader_that_has_left_is_no_failure() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = program().arg("version").stdout(writer).stderr(Stdio::piped()).output().unwrap();
    assert_eq!((output.status.code(), output.stderr), (Some(0), vec![]));
}

#[test]
fn a_server_that_never_answers_is_left_at_the_timeout() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = format!("http://{}", silent.local_addr().unwrap());
    for command in ["show", "get"] {
        let folder = tempfile::tempdir().unwrap();
        let output = program()
            .args([command, "a.png", "--timeout", "300ms"])
            .env("WIREPHOTO_SERVER", &server)
            .current_dir(folder.path())
            .output()
            .unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.contains("in the time") && error.contains("--timeout"), "{error}");
        assert!(files(folder.path()).is_empty());
    }
}

/// Answers one gRPC call with these messages and status, and gives the request's headers.
async fn answer_once(
    messages: Vec<DownloadImageResponse>,
    status: &'static str,
) -> (String, tokio::task::JoinHandle<http::HeaderMap>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answering = tokio::spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        let mut connection = h2::server::handshake(socket).await.unwrap();
        let (request, mut respond) = connection.accept().await.unwrap().unwrap();
        let response = http::Response::builder().header("content-type", "application/grpc").body(()).unwrap();
        let mut stream = respond.send_response(response, false).unwrap();
        for message in messages {
            let mut frame = BytesMut::new();
            frame.put_u8(0);
            frame.put_u32(u32::try_from(message.encoded_len()).unwrap());
            message.encode(&mut frame).unwrap();
            stream.send_data(frame.freeze(), false).unwrap();
        }
        let mut trailers = http::HeaderMap::new();
        trailers.insert("grpc-status", http::HeaderValue::from_static(status));
        stream.send_trailers(trailers).unwrap();
        // Serves the connection until the client has gone.
        while connection.accept().await.is_some() {}
        request.headers().clone()
    });
    (url, answering)
}

/// The headers of the call, which has been made once the program has ended; bounded, in case it never called.
async fn asked(answering: tokio::task::JoinHandle<http::HeaderMap>) -> http::HeaderMap {
    tokio::time::timeout(Duration::from_secs(30), answering).await.unwrap().unwrap()
}

async fn output(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

#[tokio::test]
async fn damaged_bytes_never_become_a_file() {
    let image = Image {
        name: "images/a.png".into(),
        size_bytes: 6,
        sha256: "bef57ec7f53a6d40beb640a780a639c83bc29ac8a9816f1fc6c5c6dcd93c4721".into(),
        crc32c: crc32c::crc32c(b"abcdef"),
        ..Image::default()
    };
    let begin = |data: &'static [u8]| DownloadImageResponse {
        image: Some(image.clone()),
        content_range: Some(ContentRange { start: 0, end: 6, complete_length: 6 }),
        chunk: Some(ChecksummedData { data: Bytes::from_static(data), crc32c: None }),
    };
    let folder = tempfile::tempdir().unwrap();
    for (data, status, expected) in [
        (&b"abcdef"[..], "0", None),
        (b"abcdeX", "0", Some("CRC-32C")),
        (b"abc", "0", Some("3 of 6 bytes")),
        (b"abcdefg", "0", Some("more than the 6 bytes")),
        (b"abc", "15", Some("DataLoss")),
    ] {
        let (url, answering) = answer_once(vec![begin(data)], status).await;
        let mut command = program();
        command.args(["get", "a.png"]).env("WIREPHOTO_SERVER", url).current_dir(folder.path());
        let output = output(command).await;
        asked(answering).await;
        let error = String::from_utf8(output.stderr).unwrap();
        match expected {
            None => {
                assert!(output.status.success(), "{error}");
                assert_eq!(fs::read(folder.path().join("a.png")).unwrap(), b"abcdef");
                fs::remove_file(folder.path().join("a.png")).unwrap();
            }
            Some(why) => {
                assert_eq!(output.status.code(), Some(1), "{error}");
                assert!(error.contains(why), "{error}");
                assert!(files(folder.path()).is_empty(), "{why}");
            }
        }
    }
}

#[tokio::test]
async fn a_token_goes_with_the_call_and_its_lack_is_explained() {
    let (url, answering) = answer_once(vec![], "16").await;
    let mut command = program();
    command.args(["get", "a.png", "-o", "-"]).env("WIREPHOTO_SERVER", url).env("WIREPHOTO_TOKEN", "open-sesame");
    let output = output(command).await;
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(error.contains("WIREPHOTO_TOKEN") && !error.contains("open-sesame"), "{error}");
    assert_eq!(asked(answering).await["authorization"], "Bearer open-sesame");
}
