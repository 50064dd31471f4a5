//! What the guides say of the code, held against it.

use std::collections::BTreeSet;

fn guide(name: &str) -> String {
    let path = format!("{}/docs/{name}.md", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A flag of `serve` that the guide does not tell of, or one that is no more.
#[test]
fn every_flag_of_serve_is_told() {
    use clap::CommandFactory as _;
    let command = wirephoto::cli::Cli::command();
    let serve = command.find_subcommand("serve").expect("there is `serve`");
    let flags: BTreeSet<String> =
        serve.get_arguments().filter_map(|argument| argument.get_long()).map(|flag| format!("--{flag}")).collect();
    let guide = guide("operations");
    let told = guide.lines().filter_map(|line| line.strip_prefix("| `--"));
    let told = told.filter_map(|line| line.split(|letter: char| !letter.is_ascii_lowercase() && letter != '-').next());
    assert_eq!(told.map(|flag| format!("--{flag}")).collect::<BTreeSet<_>>(), flags);
}
