//! The query of Connect's GET: none panics, and what one says can be written anew.

#![no_main]

use libfuzzer_sys::fuzz_target;
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use wirephoto::wire::connect::Query;

fuzz_target!(|query: &str| {
    let Ok(parsed) = Query::parse(query) else { return };
    let encode = |bytes: &[u8]| percent_encode(bytes, NON_ALPHANUMERIC).to_string();
    let (encoding, message) = (encode(parsed.encoding.as_bytes()), encode(&parsed.message));
    let mut anew = format!("connect=v1&encoding={encoding}&message={message}");
    if let Some(compression) = &parsed.compression {
        anew.push_str("&compression=");
        anew.push_str(&encode(compression.as_bytes()));
    }
    assert_eq!(Query::parse(&anew).ok(), Some(parsed));
});
