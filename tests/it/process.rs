//! The server as a process: how it stops, and what it does when its store cannot be written.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use serde_json::Value;

use crate::photo::{photo, sixty_megabytes};

/// A server of its own process, killed when dropped.
pub struct Process {
    pub child: Child,
    pub url: String,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    pub fn start(store: &Path) -> Self {
        Self::spawn(Command::new(env!("CARGO_BIN_EXE_wirephoto")).args(serve(store)))
    }

    /// In a mount namespace of its own, after `mount` has been run there.
    fn start_after(mount: &str, store: &Path) -> Self {
        let script = format!("{mount} && exec \"$0\" \"$@\"");
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", &script, env!("CARGO_BIN_EXE_wirephoto")]);
        Self::spawn(command.args(serve(store)))
    }

    pub fn spawn(command: &mut Command) -> Self {
        Self::spawn_telling(command.stderr(Stdio::null()))
    }

    /// With stderr as the command has it.
    pub fn spawn_telling(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("wirephoto listening on ").unwrap_or_else(|| panic!("{line:?}")).to_owned();
        Self { child, url }
    }

    pub fn signal(&self, signal: &str) {
        assert!(Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap().success());
    }
}

pub fn serve(store: &Path) -> [String; 5] {
    let store = format!("file:{}", store.display());
    ["serve".into(), "--listen".into(), "127.0.0.1:0".into(), "--store".into(), store]
}

async fn put(url: &str, id: &str, bytes: Bytes) -> reqwest::Response {
    reqwest::Client::new().put(format!("{url}/i/{id}")).body(bytes).send().await.unwrap()
}

#[tokio::test]
async fn a_signal_to_stop_lets_running_transfers_finish() {
    let store = tempfile::tempdir().unwrap();
    let mut server = Process::start(store.path());
    let bytes = sixty_megabytes(3);
    assert_eq!(put(&server.url, "large", bytes.clone()).await.status(), 201);

    let download = reqwest::get(format!("{}/i/large", server.url)).await.unwrap();
    let mut pieces = download.bytes_stream();
    let mut got = pieces.next().await.unwrap().unwrap().to_vec();
    server.signal("-TERM");
    // No new connection is taken, soon.
    let refused = async {
        while reqwest::Client::new().get(format!("{}/livez", server.url)).send().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), refused).await.expect("the server still accepts");
    while let Some(piece) = pieces.next().await {
        got.extend_from_slice(&piece.unwrap());
    }
    assert!(got == bytes, "{} bytes of {}", got.len(), bytes.len());
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill() {
    let store = tempfile::tempdir().unwrap();
    let server = Process::start(store.path());
    for name in ["photo.jpg", "orientation-3.jpg"] {
        assert_eq!(put(&server.url, name, photo(name).into()).await.status(), 201);
    }
    // One more is on its way.
    let half = sixty_megabytes(4).slice(..10 << 20);
    let endless = futures::stream::iter([Ok::<_, std::io::Error>(half)]).chain(futures::stream::pending());
    let url = format!("{}/i/half", server.url);
    let upload = tokio::spawn(reqwest::Client::new().put(url).body(reqwest::Body::wrap_stream(endless)).send());
    tokio::time::sleep(Duration::from_millis(200)).await;
    server.signal("-KILL");
    drop(server);
    assert!(upload.await.unwrap().is_err());

    let again = Process::start(store.path());
    let list: Value = reqwest::get(format!("{}/v1/images", again.url)).await.unwrap().json().await.unwrap();
    let names: Vec<_> =
        list["images"].as_array().unwrap().iter().map(|image| image["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["images/orientation-3.jpg", "images/photo.jpg"]);
    for name in ["photo.jpg", "orientation-3.jpg"] {
        let bytes = reqwest::get(format!("{}/i/{name}", again.url)).await.unwrap().bytes().await.unwrap();
        assert!(bytes == photo(name));
    }
}

#[tokio::test]
async fn a_second_server_on_the_same_store_is_refused() {
    let store = tempfile::tempdir().unwrap();
    let _first = Process::start(store.path());
    let second = Command::new(env!("CARGO_BIN_EXE_wirephoto")).args(serve(store.path())).output().unwrap();
    assert_ne!(second.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&second.stderr).contains("another"), "{second:?}");
}

#[tokio::test]
async fn more_connections_come_than_files_may_be_open_at_first() {
    let store = tempfile::tempdir().unwrap();
    let limited = |limit: &str| {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("ulimit {limit} && exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_wirephoto")]);
        command.args(serve(store.path()));
        command
    };
    let server = Process::spawn(&mut limited("-S -n 100"));
    let address = server.url.strip_prefix("http://").unwrap();
    let connections: Vec<_> = (0..300).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
    // Those that come first are accepted first.
    let ready = reqwest::get(format!("{}/readyz", server.url));
    assert_eq!(tokio::time::timeout(Duration::from_secs(60), ready).await.unwrap().unwrap().status(), 200);
    drop((connections, server));
    let mut server = Process::spawn_telling(limited("-n 100").stderr(Stdio::piped()));
    let mut log = BufReader::new(server.child.stderr.take().unwrap());
    let mut line = String::new();
    log.read_line(&mut line).unwrap();
    assert!(line.contains("WARN") && line.contains("100 open files"), "{line}");
    // What is left are the store's: who came in time is served, however many come after.
    let client = reqwest::Client::builder().pool_max_idle_per_host(1).build().unwrap();
    let ready = format!("{}/readyz", server.url);
    assert_eq!(client.get(&ready).send().await.unwrap().text().await.unwrap(), "ok\n");
    let address = server.url.strip_prefix("http://").unwrap();
    let _idle: Vec<_> = (0..200).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
    for id in ["a", "b"] {
        let image = format!("{}/i/{id}", server.url);
        let put = client.put(&image).body(photo("photo.jpg")).send().await.unwrap();
        assert_eq!(put.status(), 201, "{}", put.text().await.unwrap());
        assert_eq!(client.get(&image).send().await.unwrap().bytes().await.unwrap(), photo("photo.jpg"));
    }
    assert_eq!(client.get(&ready).send().await.unwrap().status(), 200);
}

/// As when a volume goes from under it: what is written into the empty folder would be lost when it is back.
#[tokio::test]
async fn a_store_that_is_not_where_it_was_takes_nothing_and_health_checks_know() {
    let folder = tempfile::tempdir().unwrap();
    let (store, aside) = (folder.path().join("store"), folder.path().join("aside"));
    let server = Process::start(&store);
    assert_eq!(put(&server.url, "cat", photo("photo.jpg").into()).await.status(), 201);
    let healthy = || Command::new(env!("CARGO_BIN_EXE_wirephoto")).args(["health", "--server", &server.url]).output();
    assert!(healthy().unwrap().status.success());
    let becomes = async |wanted: bool| {
        let changed = async {
            while healthy().unwrap().status.success() != wanted {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), changed).await.expect("health checks know");
    };

    std::fs::rename(&store, &aside).unwrap();
    std::fs::create_dir(&store).unwrap();
    assert_eq!(put(&server.url, "dog", photo("photo.jpg").into()).await.status(), 503);
    std::fs::write(store.join(".lock"), "").unwrap();
    assert_eq!(put(&server.url, "dog", photo("photo.jpg").into()).await.status(), 503);
    let delete = reqwest::Client::new().delete(format!("{}/i/cat", server.url)).send().await.unwrap();
    assert_eq!(delete.status(), 503);
    assert!(!store.join("manifests").exists());
    becomes(false).await;

    std::fs::remove_dir_all(&store).unwrap();
    std::fs::rename(&aside, &store).unwrap();
    becomes(true).await;
    assert_eq!(put(&server.url, "dog", photo("photo.jpg").into()).await.status(), 201);
    for id in ["cat", "dog"] {
        assert_eq!(reqwest::get(format!("{}/i/{id}", server.url)).await.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn a_full_store_says_so_and_goes_on() {
    let store = tempfile::tempdir().unwrap();
    let mount = format!("mount -t tmpfs -o size=8m tmpfs {}", store.path().display());
    let server = Process::start_after(&mount, store.path());
    assert_eq!(put(&server.url, "small", photo("photo.jpg").into()).await.status(), 201);
    let full = put(&server.url, "large", sixty_megabytes(5)).await;
    assert_eq!(full.status(), 507);
    let problem: Value = full.json().await.unwrap();
    assert_eq!(problem["reason"], "NO_SPACE", "{problem}");
    // What did not fit is gone, and there is room again.
    assert_eq!(put(&server.url, "again", photo("photo.jpg").into()).await.status(), 201);
    // Without any, there is still a way to make some.
    let pid = server.child.id();
    let fill = std::fs::File::create(format!("/proc/{pid}/root{}/fill", store.path().display())).unwrap();
    assert!(std::io::copy(&mut std::io::repeat(0), &mut &fill).is_err());
    let rm = Command::new(env!("CARGO_BIN_EXE_wirephoto")).args(["rm", "again", "--server", &server.url]).output();
    assert!(rm.as_ref().unwrap().status.success(), "{rm:?}");
    assert_eq!(reqwest::get(format!("{}/i/again", server.url)).await.unwrap().status(), 404);
    assert_eq!(reqwest::get(format!("{}/i/small", server.url)).await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_store_that_became_read_only_still_reads() {
    let store = tempfile::tempdir().unwrap();
    drop({
        let server = Process::start(store.path());
        assert_eq!(put(&server.url, "cat", photo("photo.jpg").into()).await.status(), 201);
        server
    });
    // The lock file is writable; blobs and manifests are not.
    let mounts = ["blobs", "manifests", "requests"].map(|dir| {
        let dir = store.path().join(dir);
        std::fs::create_dir_all(&dir).unwrap();
        format!("mount --bind {0} {0} && mount -o remount,bind,ro {0}", dir.display())
    });
    let server = Process::start_after(&mounts.join(" && "), store.path());
    assert_eq!(reqwest::get(format!("{}/i/cat", server.url)).await.unwrap().status(), 200);
    let refused = put(&server.url, "dog", photo("photo.jpg").into()).await;
    assert_eq!(refused.status(), 503);
    let problem: Value = refused.json().await.unwrap();
    assert!(problem["detail"].as_str().unwrap().contains("no writes"), "{problem}");
    let delete = reqwest::Client::new().delete(format!("{}/v1/images/cat", server.url)).send().await.unwrap();
    assert_eq!(delete.status(), 503, "{}", delete.text().await.unwrap());
}
