//! Whether the media type a caller claims agrees with the bytes.

use super::{Format, not_an_image};
use crate::error::{Error, Reason, Result};

/// What tools send by themselves when nobody named a type.
const NO_CLAIM: [&str; 2] = ["application/octet-stream", "application/x-www-form-urlencoded"];

/// Other names in use for the formats, lower-case.
const ALIASES: [(&str, Format); 16] = [
    ("image/jpg", Format::Jpeg),
    ("image/pjpeg", Format::Jpeg),
    ("image/x-jpeg", Format::Jpeg),
    ("image/x-jpg", Format::Jpeg),
    ("image/apng", Format::Png),
    ("image/vnd.mozilla.apng", Format::Png),
    ("image/x-png", Format::Png),
    ("image/x-gif", Format::Gif),
    ("image/x-webp", Format::Webp),
    ("image/tif", Format::Tiff),
    ("image/x-tif", Format::Tiff),
    ("image/x-tiff", Format::Tiff),
    ("image/x-bmp", Format::Bmp),
    ("image/x-ms-bmp", Format::Bmp),
    ("image/x-windows-bmp", Format::Bmp),
    ("image/svg", Format::Svg),
];

/// Holds a claimed media type (a `Content-Type`, RFC 9110 section 8.3) against what the bytes are.
///
/// Nothing, `application/octet-stream` and `application/x-www-form-urlencoded` claim nothing; parameters are ignored.
///
/// # Errors
///
/// [`Reason::TypeMismatch`] for another `image/*`; [`Reason::NotAnImage`] for any other type or a malformed one.
pub fn check_claim(claimed: Option<&str>, found: Format) -> Result<()> {
    let claimed = claimed.unwrap_or_default();
    let essence = claimed.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if claimed.trim().is_empty() || NO_CLAIM.contains(&essence.as_str()) {
        return Ok(());
    }
    let Some((kind, subtype)) = essence.split_once('/').filter(|(kind, subtype)| is_token(kind) && is_token(subtype))
    else {
        let shown: String = claimed.chars().take(100).collect();
        return Err(not_an_image(format!(
            "the claimed type `{}` is no media type: write {} or claim none",
            shown.escape_debug(),
            found.media_type()
        )));
    };
    if kind != "image" {
        return Err(not_an_image(format!(
            "the claimed type {essence:.100} is no image's, though the bytes are {}: claim that or none",
            found.media_type()
        )));
    }
    let meant = ALIASES.iter().find(|(alias, _)| *alias == essence).map(|(_, format)| *format);
    let agrees = meant.map_or_else(|| found.media_type() == essence, |meant| meant == found);
    if agrees {
        return Ok(());
    }
    Err(Error::new(
        Reason::TypeMismatch,
        format!("claimed as image/{subtype:.100}, but the bytes are {}: claim that or none", found.media_type()),
    ))
}

/// A token of RFC 9110 section 5.6.2.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::{Format, check_claim};
    use crate::error::Reason;

    #[test]
    fn what_claims_nothing_or_the_truth_passes() {
        let claims = [
            None,
            Some(""),
            Some("application/octet-stream"),
            Some("application/x-www-form-urlencoded; charset=utf-8"),
            Some("image/jpeg"),
            Some(" IMAGE/JPEG ; q=1"),
            Some("image/jpg"),
            Some("image/pjpeg"),
        ];
        for claim in claims {
            assert!(check_claim(claim, Format::Jpeg).is_ok(), "{claim:?}");
        }
        for format in Format::ALL {
            assert!(check_claim(Some(format.media_type()), format).is_ok(), "{format:?}");
        }
    }

    #[test]
    fn another_image_is_a_mismatch_that_names_both() {
        for claim in ["image/png", "image/x-png", "image/heic", "image/svg+xml"] {
            let error = check_claim(Some(claim), Format::Jpeg).unwrap_err();
            assert_eq!(error.reason, Reason::TypeMismatch, "{claim}");
            assert!(error.message.contains(claim) && error.message.contains("image/jpeg"), "{error}");
        }
    }

    #[test]
    fn what_is_no_images_type_is_refused_with_the_mend() {
        for claim in [
            "text/plain",
            "application/json",
            "multipart/form-data; boundary=x",
            "jpeg",
            "image/",
            "/",
            "a b/c",
            "image/jpeg,image/png",
        ] {
            let error = check_claim(Some(claim), Format::Jpeg).unwrap_err();
            assert_eq!(error.reason, Reason::NotAnImage, "{claim}");
            assert!(error.message.contains("image/jpeg"), "{error}");
        }
    }
}
