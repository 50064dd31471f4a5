//! `Repr-Digest` (RFC 9530) is told with every image; it and `Content-Digest` are verified on every upload.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{HeaderMap, HeaderName};
use sfv::{BareItem, Dictionary, Item, ListEntry, Parser};
use sha2::{Digest as _, Sha256, Sha512};

use crate::error::{Error, Reason, Result};

/// The digest of what this message carries.
pub(super) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");
/// The digest of the whole image, whatever part of it this message carries.
pub(super) const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");

/// The digests a request gives. Without content codings and partial uploads both fields mean the same bytes.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Digests {
    /// `sha-256`.
    pub(super) sha256: Option<[u8; 32]>,
    /// `sha-512`.
    pub(super) sha512: Option<[u8; 64]>,
}

impl Digests {
    /// Reads both fields; algorithms other than sha-256 and sha-512 are ignored, as RFC 9530 section 2 allows.
    ///
    /// # Errors
    /// [`Reason::InvalidRequest`] where a field is malformed or the two contradict each other.
    pub(super) fn parse(headers: &HeaderMap) -> Result<Self> {
        let content = Self::of_field(headers, &CONTENT_DIGEST)?;
        let repr = Self::of_field(headers, &REPR_DIGEST)?;
        Ok(Self { sha256: agreed(content.sha256, repr.sha256)?, sha512: agreed(content.sha512, repr.sha512)? })
    }

    fn of_field(headers: &HeaderMap, name: &HeaderName) -> Result<Self> {
        let lines: Vec<&[u8]> = headers.get_all(name).iter().map(|value| value.as_bytes()).collect();
        if lines.is_empty() {
            return Ok(Self::default());
        }
        let malformed = |why: &str| {
            Error::invalid(name.as_str(), format!("{name} is malformed: {why}; write {name}: sha-256=:BASE64:"))
        };
        let joined = lines.join(&b", "[..]);
        let members: Dictionary = Parser::new(&joined).parse().map_err(|error| malformed(&error.to_string()))?;
        let mut digests = Self::default();
        for (algorithm, member) in &members {
            let ListEntry::Item(Item { bare_item: BareItem::ByteSequence(bytes), .. }) = member else {
                return Err(malformed(&format!("{algorithm} is not bytes between colons")));
            };
            let length =
                |bits: usize| malformed(&format!("{algorithm} has {} bytes and not {}", bytes.len(), bits / 8));
            match algorithm.as_str() {
                "sha-256" => digests.sha256 = Some(bytes.as_slice().try_into().map_err(|_| length(256))?),
                "sha-512" => digests.sha512 = Some(bytes.as_slice().try_into().map_err(|_| length(512))?),
                _ => {}
            }
        }
        Ok(digests)
    }
}

fn agreed<const N: usize>(content: Option<[u8; N]>, repr: Option<[u8; N]>) -> Result<Option<[u8; N]>> {
    match (content, repr) {
        (Some(content), Some(repr)) if content != repr => Err(Error::new(
            Reason::ChecksumMismatch,
            "Content-Digest and Repr-Digest give different digests of the same bytes: send one of them, or the same",
        )),
        (content, repr) => Ok(content.or(repr)),
    }
}

/// Value of `Repr-Digest` for the image whose SHA-256 is this hexadecimal text.
///
/// # Errors
/// [`Reason::DataLoss`] where it is no such text.
pub(super) fn repr_digest(sha256: &str) -> Result<String> {
    let mut digest = [0; 32];
    let damaged = |error: hex::FromHexError| {
        Error::new(Reason::DataLoss, "the digest stored with this image is damaged: put the image again")
            .caused_by(error)
    };
    hex::decode_to_slice(sha256, &mut digest).map_err(damaged)?;
    Ok(["sha-256=:", &STANDARD.encode(digest), ":"].concat())
}

/// Verifies the digests of bytes that are not the image's alone: those of a form.
pub(super) struct Verifier {
    wanted: Digests,
    sha256: Option<Sha256>,
    sha512: Option<Sha512>,
}

impl Verifier {
    /// One that computes only what is wanted.
    pub(super) fn new(wanted: Digests) -> Self {
        Self { wanted, sha256: wanted.sha256.map(|_| Sha256::new()), sha512: wanted.sha512.map(|_| Sha512::new()) }
    }

    /// Takes the next bytes.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        if let Some(sha256) = &mut self.sha256 {
            sha256.update(bytes);
        }
        if let Some(sha512) = &mut self.sha512 {
            sha512.update(bytes);
        }
    }

    /// Compares, once all bytes were taken.
    ///
    /// # Errors
    /// [`Reason::ChecksumMismatch`].
    pub(super) fn finish(self) -> Result<()> {
        let wrong = |algorithm, found: &[u8]| {
            let found = STANDARD.encode(found);
            let message = format!("the {algorithm} digest given is not that of the body, which is :{found}:");
            Err(Error::new(Reason::ChecksumMismatch, format!("{message}; send it again")))
        };
        if let (Some(wanted), Some(hash)) = (self.wanted.sha256, self.sha256) {
            let found = hash.finalize();
            if found[..] != wanted[..] {
                return wrong("sha-256", &found);
            }
        }
        if let (Some(wanted), Some(hash)) = (self.wanted.sha512, self.sha512) {
            let found = hash.finalize();
            if found[..] != wanted[..] {
                return wrong("sha-512", &found);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use http::header::{HeaderMap, HeaderName, HeaderValue};
    use proptest::prelude::*;
    use sha2::{Digest as _, Sha256, Sha512};

    use super::{Digests, Verifier, repr_digest};
    use crate::error::Reason;

    /// RFC 9530 appendix B.1: the digests of `{"hello": "world"}` and a line feed.
    const HELLO: &[u8] = b"{\"hello\": \"world\"}\n";
    const SHA256: &str = "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:";
    const SHA512: &str =
        "sha-512=:YMAam51Jz/jOATT6/zvHrLVgOYTGFy1d6GJiOHTohq4yP+pgk4vf2aCsyRZOtw8MjkM7iw7yZ/WkppmM44T3qg==:";

    fn parse(pairs: &[(&str, &str)]) -> Result<Digests, Reason> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        Digests::parse(&headers).map_err(|error| error.reason)
    }

    fn hello() -> ([u8; 32], [u8; 64]) {
        (Sha256::digest(HELLO).into(), Sha512::digest(HELLO).into())
    }

    #[test]
    fn the_rfc_s_examples() {
        let (sha256, sha512) = hello();
        let both = format!("{SHA256},\t{SHA512}");
        let table: &[(&[(&str, &str)], Digests)] = &[
            (&[], Digests::default()),
            (&[("content-digest", SHA256)], Digests { sha256: Some(sha256), sha512: None }),
            (&[("repr-digest", SHA512)], Digests { sha256: None, sha512: Some(sha512) }),
            (&[("repr-digest", &both)], Digests { sha256: Some(sha256), sha512: Some(sha512) }),
            (
                &[("repr-digest", SHA512), ("repr-digest", SHA256)],
                Digests { sha256: Some(sha256), sha512: Some(sha512) },
            ),
            (
                &[("repr-digest", SHA512), ("content-digest", SHA256)],
                Digests { sha256: Some(sha256), sha512: Some(sha512) },
            ),
            (&[("content-digest", "md5=:AAAA:, unixsum=:AAAA:")], Digests::default()),
            (&[("content-digest", "md5=:AAAA:;note=1")], Digests::default()),
        ];
        for (given, wanted) in table {
            assert_eq!(parse(given), Ok(*wanted), "{given:?}");
        }
        assert_eq!(repr_digest(&hex::encode(sha256)).unwrap(), SHA256);
    }

    #[test]
    fn malformed_fields_are_refused() {
        for value in [
            "",
            "sha-256",
            "sha-256=",
            "sha-256=abc",
            "sha-256=\"abc\"",
            "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=",
            "sha-256=:AAAA:",
            "sha-512=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:",
            "sha-256=:!!!!:",
            "SHA-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:",
            "md5=1",
            "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:,",
        ] {
            let wanted = if value.is_empty() { Ok(Digests::default()) } else { Err(Reason::InvalidRequest) };
            assert_eq!(parse(&[("content-digest", value)]), wanted, "{value}");
        }
    }

    #[test]
    fn fields_that_contradict_each_other_are_refused() {
        let other = "sha-256=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:";
        let given = [("content-digest", SHA256), ("repr-digest", other)];
        assert_eq!(parse(&given), Err(Reason::ChecksumMismatch));
    }

    #[test]
    fn a_verifier_tells_one_byte() {
        let (sha256, sha512) = hello();
        let verify = |wanted, pieces: &[&[u8]]| {
            let mut verifier = Verifier::new(wanted);
            pieces.iter().for_each(|piece| verifier.update(piece));
            verifier.finish().map_err(|error| error.reason)
        };
        let (first, rest) = HELLO.split_at(3);
        let both = Digests { sha256: Some(sha256), sha512: Some(sha512) };
        let last = Digests { sha256: None, sha512: Some(sha512) };
        assert_eq!(verify(both, &[first, rest]), Ok(()));
        assert_eq!(verify(Digests::default(), &[first]), Ok(()));
        assert_eq!(verify(both, &[first]), Err(Reason::ChecksumMismatch));
        assert_eq!(verify(last, &[first]), Err(Reason::ChecksumMismatch));
    }

    proptest! {
        #[test]
        fn any_field_parses_or_does_not(value in "[ -~\t]{0,80}") {
            let _ = parse(&[("repr-digest", value.as_str())]);
        }

        #[test]
        fn digests_are_read_back(sha256: [u8; 32]) {
            let written = repr_digest(&hex::encode(sha256)).unwrap();
            let read = parse(&[("repr-digest", written.as_str())]);
            prop_assert_eq!(read, Ok(Digests { sha256: Some(sha256), sha512: None }));
        }
    }
}
