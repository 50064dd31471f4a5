//! Reads the imports of `src/` and holds them to the direction rule of `src/lib.rs`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Every file of `src/`: its path below `src/`, and its code without comments and tests.
fn files() -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    sources(&root, &mut found);
    let read = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        let code = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
        (path.strip_prefix(&root).unwrap().display().to_string(), code)
    };
    // What is compiled for tests alone may name what it likes, be it in a file of its own.
    let for_tests = |file: &str| file.ends_with("/tests.rs") || file.contains("/tests/");
    let files: BTreeMap<_, _> = found.iter().map(read).filter(|(file, _)| !for_tests(file)).collect();
    assert!(files.len() > 30, "only {} files", files.len());
    files
}

/// The module below the root that a file belongs to.
fn module(file: &str) -> &str {
    file.split(['/', '.']).next().unwrap()
}

/// The modules below the root that the code names: `crate::x`, `crate::{x, y}`; of the program itself, `wirephoto::x`.
fn named(module: &str, code: &str) -> Vec<String> {
    let root = if module == "main" { "wirephoto::" } else { "crate::" };
    let mut modules = Vec::new();
    for (at, _) in code.match_indices(root) {
        let rest = &code[at + root.len()..];
        let names = match rest.strip_prefix('{') {
            Some(list) => list.split('}').next().unwrap(),
            None => rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap(),
        };
        let names = names.split(',').map(|name| name.trim().split("::").next().unwrap().to_owned());
        modules.extend(names.filter(|name| !name.is_empty()));
    }
    modules
}

#[test]
fn modules_depend_downwards_only() {
    // Who may name whom, besides itself, `error` and the generated `proto`.
    let allowed: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("main", &["cli", "cmd", "config", "client"] as &[_]),
        ("lib", &[]),
        ("cli", &[]),
        ("config", &["cli", "guard"]),
        ("bench", &["cli", "config", "client", "wire", "net", "io"]),
        ("cmd", &["bench", "cli", "config", "client", "server", "guard", "image", "store", "io", "well_known"]),
        ("client", &["image", "well_known", "wire"]),
        ("server", &["guard", "wire", "raw", "service", "page", "net", "image"]),
        ("guard", &["wire", "raw"]),
        ("service", &["wire", "image", "store", "io", "well_known"]),
        ("raw", &["wire", "image", "store", "io"]),
        ("page", &["wire"]),
        ("wire", &["io", "silence", "well_known"]),
        ("net", &["io", "silence"]),
        ("image", &["store"]),
        ("store", &["io"]),
        ("io", &[]),
        ("error", &[]),
        ("silence", &[]),
        ("proto", &["wire", "well_known"]),
        ("well_known", &["wire"]),
    ]);
    for (file, code) in files() {
        let module = module(&file);
        let allowed = allowed.get(module).unwrap_or_else(|| panic!("src/{file}: a module without a rule"));
        for name in named(module, &code) {
            let fine = name == module || name == "error" || name == "proto" || allowed.contains(&name.as_str());
            assert!(fine, "src/{file} names {name}");
        }
    }
}

#[test]
fn transports_stay_in_their_rooms() {
    let rules: [(&[&str], &[&str]); 3] = [
        (&["tonic::", "tonic_web::", "tonic_health::", "tonic_reflection::"], &["service/", "client/", "wire/grpc"]),
        (
            &["axum::", "http::", "hyper::", "http_body::"],
            &["bench/", "service/", "client/", "wire/", "raw/", "guard/", "net/", "server.rs", "page.rs", "config"],
        ),
        (&["prost::"], &["bench/", "service/", "client/", "wire/", "proto.rs", "well_known.rs"]),
    ];
    for (file, code) in files() {
        for (crates, rooms) in rules {
            let outside = !rooms.iter().any(|room| file.starts_with(room));
            for name in crates {
                let uses = code
                    .match_indices(name)
                    .any(|(at, _)| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':'));
                assert!(!(outside && uses), "src/{file} uses {name}");
            }
        }
    }
}

#[test]
fn unsafe_code_lives_in_io_only() {
    for (file, code) in files() {
        let has = code.contains("unsafe {") || code.contains("unsafe fn") || code.contains("unsafe impl");
        assert!(!has || file.starts_with("io/"), "src/{file}");
    }
}
