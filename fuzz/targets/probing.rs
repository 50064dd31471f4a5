//! Image headers: whatever they claim, they are probed within bounds or refused. libFuzzer bounds memory and time.

#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use wirephoto::error::Reason;
use wirephoto::image::probe::{Format, SNIFF_LEN, check_claim, probe, sniff};

fuzz_target!(|bytes: &[u8]| {
    let formats: Vec<Format> = match sniff(&bytes[..bytes.len().min(SNIFF_LEN)]) {
        Ok(format) => vec![format],
        Err(error) => {
            assert_eq!(error.reason, Reason::NotAnImage);
            Format::ALL.to_vec()
        }
    };
    for format in formats {
        assert!(check_claim(Some(format.media_type()), format).is_ok());
        match probe(format, bytes.len() as u64, Cursor::new(bytes)) {
            Ok(found) => {
                assert!(found.width > 0 && found.height > 0 && found.frame_count > 0, "{found:?}");
                assert!((1..=8).contains(&found.orientation), "{found:?}");
            }
            Err(error) => assert_eq!(error.reason, Reason::NotAnImage, "{error}"),
        }
    }
});
