//! `wirephoto bench`: its figures add up, it leaves nothing behind, and it ends with what it has.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::process::Process;

/// A benchmark of tiny images, whose temporary files go to a folder of its own.
fn bench(tmp: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wirephoto"));
    command.args(["bench", "--quick"]).args(args).env("TMPDIR", tmp);
    if !args.contains(&"--size") {
        command.args(["--size", "100KB"]);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(tmp: &Path, args: &[&str]) -> Output {
    bench(tmp, args).output().unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The processes that `pid` started, by what they are.
fn children(pid: u32) -> Vec<(String, u32)> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(child) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let parent = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)?.parse::<u32>().ok());
        if parent == Some(pid) {
            let line = fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
            found.push((line.split('\0').nth(2).unwrap_or_default().to_owned(), child));
        }
    }
    found
}

/// Waits until the benchmark has so many clients, so that it measures.
fn measuring(bench: &Child, clients: usize) {
    let begun = Instant::now();
    while children(bench.id()).iter().filter(|(name, _)| name == "client").count() < clients {
        assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", children(bench.id()));
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn left_in(tmp: &Path) -> Vec<String> {
    fs::read_dir(tmp).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

fn signal(signal: &str, pid: u32) {
    assert!(Command::new("kill").args([signal, &pid.to_string()]).status().unwrap().success());
}

fn is_there(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}/stat")).exists()
}

#[test]
fn figures_add_up_on_every_way_and_nothing_is_left() {
    let tmp = tempfile::tempdir().unwrap();
    let output = run(tmp.path(), &["--json", "--rounds", "2", "--scenarios", "burst-once,small-fifty,saturate"]);
    assert!(output.status.success(), "{output:?}");
    let report = json(&output);
    assert_eq!(report["complete"], true, "{}", report["missing"]);
    let expected = [("burst-once", 5, 100_000), ("saturate", 0, 100_000), ("small-fifty", 50, 20_000)];
    for ((id, requests, size), scenario) in expected.into_iter().zip(report["scenarios"].as_array().unwrap()) {
        assert_eq!(scenario["id"], id);
        let ways = scenario["ways"].as_array().unwrap();
        assert_eq!(ways.len(), 13, "{id}");
        for way in ways {
            let number = |field: &str| way[field].as_u64().unwrap();
            assert_eq!((number("rounds"), number("failed"), number("cut")), (2, 0, 0), "{way}");
            assert_eq!(number("bytes"), number("requests") * size, "{way}");
            assert!(requests == 0 || number("requests") == 2 * requests, "{way}");
            assert!(number("wire_bytes") > number("bytes"), "{way}");
            for side in ["client", "server"] {
                assert!(way[side]["cpu_seconds"].as_f64().unwrap() > 0.0, "{way}");
                assert!(way[side]["peak_bytes"].as_u64() > way[side]["anonymous_bytes"].as_u64(), "{way}");
            }
            // A percentile is never below a smaller one.
            let of = |field: &str| way[field].as_f64().unwrap();
            assert!(way["p50_ms"]["median"].as_f64().unwrap() <= of("p90_ms"), "{way}");
            assert!(of("p90_ms") <= of("p99_ms") && of("p99_ms") <= of("worst_ms"), "{way}");
        }
        let of = |id: &str| ways.iter().find(|way| way["id"] == id).unwrap();
        assert_eq!(of("h1-new")["connections"], of("h1-new")["requests"]);
        assert_eq!(of("grpc-new")["connections"], of("grpc-new")["requests"]);
        for one in ["h2", "grpc-64k", "grpc-default", "grpc-tuned", "grpc-bidi", "grpc-unary"] {
            assert_eq!((&of(one)["connections"], &of(one)["connections_open"]), (&0.into(), &1.into()), "{one}");
        }
        assert_eq!(of("grpc-pool")["connections_open"], 4);
        // base64 makes four of three.
        let overhead = of("json")["overhead_percent"].as_f64().unwrap();
        assert!((33.0..45.0).contains(&overhead), "{overhead}");
        assert!(of("h1-pool")["overhead_percent"].as_f64().unwrap() < 5.0);
    }
    assert_eq!(left_in(tmp.path()), [""; 0]);
}

#[test]
fn tls_and_a_relay_are_measured_too() {
    let tmp = tempfile::tempdir().unwrap();
    let args = ["--json", "--rounds", "1", "--scenarios", "burst-once", "--tls", "--rtt", "4ms"];
    let output = run(tmp.path(), &[&args[..], &["--bandwidth", "1gbit"]].concat());
    assert!(output.status.success(), "{output:?}");
    let ways = json(&output)["scenarios"][0]["ways"].as_array().unwrap().clone();
    assert_eq!(ways.len(), 13);
    for way in ways {
        assert_eq!(way["handshakes"], way["connections"], "{way}");
        // Nothing is faster than there and back.
        assert!(way["first_byte_ms"]["median"].as_f64().unwrap() >= 4.0, "{way}");
    }
    assert_eq!(left_in(tmp.path()), [""; 0]);
}

#[test]
fn a_server_that_runs_already_is_measured_and_left_as_it_was() {
    let (tmp, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = Process::start(store.path());
    let args = ["--json", "--rounds", "1", "--scenarios", "burst-once", "--ways", "h1,h2,grpc-tuned"];
    let output = run(tmp.path(), &[&args[..], &["--server", &server.url]].concat());
    assert!(output.status.success(), "{output:?}");
    for way in json(&output)["scenarios"][0]["ways"].as_array().unwrap() {
        assert_eq!(way["bytes"], 500_000);
        assert!(way["server"].is_null(), "{way}");
    }
    let list = Command::new(env!("CARGO_BIN_EXE_wirephoto")).args(["ls", "--json", "--server", &server.url]).output();
    assert_eq!(json(&list.unwrap()), Value::Array(Vec::new()));
    // The table says so in words.
    let output =
        run(tmp.path(), &["--server", &server.url, "--rounds", "1", "--scenarios", "burst-once", "--ways", "h2"]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("n/a"), "{output:?}");
}

#[test]
fn an_interrupt_ends_it_with_what_it_has() {
    let tmp = tempfile::tempdir().unwrap();
    let args = ["--json", "--rounds", "1000", "--ways", "h1-new,h2", "--scenarios", "burst-once,mixed"];
    let bench = bench(tmp.path(), &args).spawn().unwrap();
    measuring(&bench, 2);
    std::thread::sleep(Duration::from_millis(500));
    let parts = children(bench.id());
    signal("-INT", bench.id());
    let output = bench.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(
        told(&output).contains("interrupted") && told(&output).contains("mixed: nothing of h1-new, h2"),
        "{output:?}"
    );
    let report = json(&output);
    assert_eq!(report["complete"], false);
    assert_eq!(report["scenarios"][0]["ways"].as_array().unwrap().len(), 2, "{report}");
    assert_eq!(left_in(tmp.path()), [""; 0]);
    assert_eq!(parts.len(), 4, "{parts:?}");
    for (name, pid) in parts {
        assert!(!is_there(pid), "the {name} is still there");
    }
}

#[test]
fn a_server_that_dies_ends_it_with_what_it_has() {
    let tmp = tempfile::tempdir().unwrap();
    let args = ["--json", "--rounds", "1000", "--ways", "h1-new,grpc-tuned", "--scenarios", "burst-once,mixed"];
    let bench = bench(tmp.path(), &args).spawn().unwrap();
    measuring(&bench, 2);
    std::thread::sleep(Duration::from_millis(500));
    let server = children(bench.id()).into_iter().find(|(name, _)| name == "server").unwrap();
    signal("-KILL", server.1);
    let output = bench.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(told(&output).contains("the server died"), "{output:?}");
    assert!(!json(&output)["scenarios"][0]["ways"].as_array().unwrap().is_empty());
    assert_eq!(left_in(tmp.path()), [""; 0]);
}

#[test]
fn what_cannot_be_measured_is_told_before_anything_is_done() {
    let tmp = tempfile::tempdir().unwrap();
    let cases: [(&[&str], &[&str]); 13] = [
        (&["--ways", "h1-new,pigeon"], &["`pigeon`", "grpc-tuned", "json"]),
        (&["--scenarios", "siege"], &["`siege`", "burst-once", "claims"]),
        (&["--size", "0"], &["--size"]),
        (&["--size", "10"], &["--size", "1000"]),
        (&["--size", "60XB"], &["--size", "60XB"]),
        (&["--size", "9TB"], &["--size"]),
        (&["--bandwidth", "0mbit"], &["--bandwidth", "nothing through"]),
        (&["--bandwidth", "fast"], &["--bandwidth", "1gbit"]),
        (&["--rtt", "far"], &["--rtt"]),
        (&["--rounds", "0"], &["--rounds"]),
        (&["--concurrency", "100000"], &["--concurrency", "200"]),
        (&["--chunk", "4KiB,0"], &["--chunk"]),
        (&["--server", "ftp://a"], &["--server", "http://HOST:PORT"]),
    ];
    for (args, words) in cases {
        let output = run(tmp.path(), args);
        assert_eq!(output.status.code(), Some(64), "{args:?}: {output:?}");
        assert!(words.iter().all(|word| told(&output).contains(word)), "{args:?}: {output:?}");
    }
    assert_eq!(left_in(tmp.path()), [""; 0]);
}

#[test]
fn a_page_is_whole_by_itself_and_a_file_that_cannot_be_written_is_told_first() {
    let tmp = tempfile::tempdir().unwrap();
    let out = tempfile::tempdir().unwrap();
    let file = out.path().join("report.html");
    let file = file.to_str().unwrap();
    let output =
        run(tmp.path(), &["--html", file, "--rounds", "1", "--scenarios", "burst-once", "--ways", "h1-pool,json"]);
    assert!(output.status.success(), "{output:?}");
    let page = fs::read_to_string(file).unwrap();
    assert!(page.contains("<svg") && page.contains("h1-pool") && page.ends_with("</html>\n"), "{page}");
    for outside in ["http://", "https://", "<script", "url(", "@import", "src="] {
        assert!(!page.contains(outside), "{outside} in {page}");
    }
    assert!(String::from_utf8_lossy(&output.stdout).contains("burst-once"), "{output:?}");

    let nowhere = out.path().join("no/such/folder.html");
    let output = run(tmp.path(), &["--html", nowhere.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(64), "{output:?}");
    assert!(told(&output).contains("no/such/folder.html"), "{output:?}");
    // A page that does not come leaves no file.
    let unmade = out.path().join("unmade.html");
    let output = run(tmp.path(), &["--html", unmade.to_str().unwrap(), "--server", "http://127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(!unmade.exists());
}

#[test]
fn every_claim_is_judged_by_what_was_measured() {
    let tmp = tempfile::tempdir().unwrap();
    let args = ["--json", "--rounds", "3", "--scenarios", "small-fifty,saturate,claims"];
    let output = run(tmp.path(), &[&args[..], &["--ways", "h1-new,grpc-default,json", "--duration", "50ms"]].concat());
    let report = json(&output);
    assert!(output.status.success(), "{}", report["missing"]);
    let claims = report["claims"].as_array().unwrap();
    assert_eq!(claims.len(), 11);
    for claim in claims {
        let verdicts: Vec<_> = claim["parts"].as_array().unwrap().iter().map(|part| &part["verdict"]).collect();
        let expected = if verdicts.contains(&&Value::from("refuted")) {
            "refuted"
        } else if verdicts.iter().all(|verdict| *verdict == "confirmed") {
            "confirmed"
        } else {
            "undecided"
        };
        assert_eq!(claim["verdict"], expected, "{claim}");
    }
    // What was not measured is undecided.
    assert_eq!(claims[0]["verdict"], "undecided");
    assert!(claims[0]["parts"][0]["measured"].is_null());
    // What does not depend on time: sizes of messages, and descriptors.
    assert_eq!(claims[8]["parts"][3]["verdict"], "refuted", "{}", claims[8]);
    assert_eq!(claims[4]["parts"][3]["verdict"], "confirmed", "{}", claims[4]);
    assert_eq!(left_in(tmp.path()), [""; 0]);
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let tmp = tempfile::tempdir().unwrap();
    let output = run(tmp.path(), &["--server", "http://127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(told(&output).contains("127.0.0.1:1"), "{output:?}");
    assert_eq!(left_in(tmp.path()), [""; 0]);
}
