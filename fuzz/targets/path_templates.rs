//! Path templates: none panics, and what a path binds is what was put into it.
//!
//! Input: a template, a newline, a path.

#![no_main]

use libfuzzer_sys::fuzz_target;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use wirephoto::wire::http_rule::Template;

fuzz_target!(|text: &str| {
    let (template, path) = text.split_once('\n').unwrap_or(("/v1/{name=images/*}:download", text));
    if let Ok(template) = Template::parse(template) {
        let _ = template.precedence();
        if let Some(Ok(bindings)) = template.matches(path) {
            // Another reading of the same gives the same.
            assert_eq!(template.matches(path).and_then(Result::ok), Some(bindings));
        }
    }
    // Any text at all is one segment, once encoded, and comes back as it was.
    if !path.is_empty() {
        let one = Template::parse("/v1/{id}:read").expect("a template of ours");
        let encoded = format!("/v1/{}:read", utf8_percent_encode(path, NON_ALPHANUMERIC));
        let bound = one.matches(&encoded).expect("it has the template's form").expect("it is encoded well");
        assert_eq!(bound, [("id".to_owned(), path.to_owned())]);
    }
});
