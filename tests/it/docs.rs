//! What the guides say of the code, held against it.

use std::collections::BTreeSet;

use wirephoto::error::{Code, Reason, Retry};

fn guide(name: &str) -> String {
    let path = format!("{}/docs/{name}.md", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// `InvalidArgument` as `INVALID_ARGUMENT`.
fn shouted(code: Code) -> String {
    let mut name = String::new();
    for letter in format!("{code:?}").chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}

/// Every row but its `when`, which is words for people.
fn rows_of_the_code() -> Vec<String> {
    let rows = Reason::ALL.iter().map(|reason| {
        let row = reason.row();
        let again = match row.retry {
            Retry::No => "no",
            Retry::Yes => "yes",
            Retry::AfterReading => "after reading",
        };
        let (code, json) = (shouted(row.code), row.code.http_status());
        format!("| `{}` | {code} | {json} | {} | {again} |", row.name, row.bytes_status)
    });
    rows.collect()
}

#[test]
fn the_table_of_errors_is_the_code_s() {
    let guide = guide("wire");
    let table =
        guide.split_once("<!-- errors:begin -->\n").and_then(|(_, rest)| rest.split_once("<!-- errors:end -->"));
    let (table, _) = table.expect("docs/wire.md has the table between its marks");
    let rows = table.lines().skip(2).map(|line| {
        let mut cells: Vec<&str> = line.split('|').map(str::trim).collect();
        assert!(cells.len() == 8 && !cells[2].is_empty(), "not six filled cells: {line}");
        cells.remove(2);
        cells.join(" | ").trim().to_owned()
    });
    assert_eq!(rows.collect::<Vec<_>>(), rows_of_the_code());
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
