//! What the guides say of the program, held against it.

use std::collections::BTreeSet;

use clap::CommandFactory as _;
use wirephoto::cli::Cli;

#[test]
fn the_guide_to_operations_tells_of_every_flag_of_serve_and_no_other() {
    let command = Cli::command();
    let serve = command.find_subcommand("serve").expect("there is `serve`");
    let flags: BTreeSet<String> =
        serve.get_arguments().filter_map(|argument| argument.get_long()).map(|flag| format!("--{flag}")).collect();
    let guide = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md"));
    let guide = guide.expect("docs/operations.md can be read");
    let told = guide.lines().filter_map(|line| line.strip_prefix("| `--"));
    let told = told.filter_map(|line| line.split(|letter: char| !letter.is_ascii_lowercase() && letter != '-').next());
    assert_eq!(told.map(|flag| format!("--{flag}")).collect::<BTreeSet<_>>(), flags);
}
