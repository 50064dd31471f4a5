//! Which web pages may talk to this server: its own, and those that `--cors-origin` names.
//!
//! CORS alone lets a foreign page send what it may not read, and a name that is rebound to this address makes a foreign page
//! look like our own. So the `Origin`, the fetch metadata (<https://www.w3.org/TR/fetch-metadata/>) and the `Host` are
//! checked too.

use std::net::IpAddr;

use http::header::{self, HeaderName};
use http::uri::Authority;
use http::{HeaderMap, Method, Uri, Version};

use crate::error::{Error, Reason, Result};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// The pages that may talk to this server.
#[derive(Debug, Clone, Default)]
pub struct Origins {
    /// `scheme://host[:port]`, as browsers send them.
    named: Vec<String>,
    /// Whether the server listens on loopback only.
    loopback: bool,
}

impl Origins {
    /// `named` are origins as browsers send them; `loopback` tells whether only this machine reaches the server.
    pub fn new(named: Vec<String>, loopback: bool) -> Self {
        Self { named, loopback }
    }

    /// The origins named.
    pub fn named(&self) -> &[String] {
        &self.named
    }

    /// Refuses what a foreign page sent.
    pub fn check(&self, version: Version, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<()> {
        let host = host(version, uri, headers)?;
        self.check_host(host.as_ref(), headers)?;
        let origin = headers.get(header::ORIGIN).map(|origin| origin.to_str().unwrap_or("null"));
        match origin {
            Some(origin) if self.is_ours(origin, host.as_ref()) => Ok(()),
            Some(origin) => Err(foreign(origin)),
            None if is_foreign_fetch(method, headers) => Err(foreign_fetch()),
            None => Ok(()),
        }
    }

    /// Refuses a name that was rebound to this address: by a page, it would pass for our own.
    ///
    /// On loopback only loopback's names are ours. Beyond it a server cannot know its names, so that only browsers are held
    /// to those that were named; other programs follow no foreign page.
    fn check_host(&self, host: Option<&Authority>, headers: &HeaderMap) -> Result<()> {
        let Some(host) = host else { return Ok(()) };
        let name = host.host().trim_start_matches('[').trim_end_matches(']');
        let name = name.strip_suffix('.').unwrap_or(name);
        let known = match name.parse::<IpAddr>() {
            Ok(address) => !self.loopback || address.is_loopback(),
            Err(_) => is_localhost(name) || self.names(host),
        };
        if known || (!self.loopback && !is_browser(headers)) {
            return Ok(());
        }
        let message = format!(
            "the host `{}` is not known here: use the address, or start the server with --cors-origin http://{host}",
            name.escape_default()
        );
        Err(Error::new(Reason::PermissionDenied, message))
    }

    fn names(&self, host: &Authority) -> bool {
        self.named.iter().filter_map(|origin| origin.split_once("://")).any(|(_, named)| named == host.as_str())
    }

    fn is_ours(&self, origin: &str, host: Option<&Authority>) -> bool {
        let own = || Some(origin.split_once("://")?.1 == host?.as_str());
        self.named.iter().any(|named| named == origin) || own().unwrap_or(false)
    }
}

/// `localhost`, or a name below it (RFC 6761 section 6.3).
fn is_localhost(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or_default();
    last.eq_ignore_ascii_case("localhost")
}

/// `:authority`, or `Host`, of which there is one in HTTP/1.1 and at most one elsewhere, and sound (RFC 9112 section 3.2): without
/// a user (RFC 9110 section 4.2.4).
fn host(version: Version, uri: &Uri, headers: &HeaderMap) -> Result<Option<Authority>> {
    let mut given = headers.get_all(header::HOST).iter();
    let named = given.next();
    let parsed: Option<Option<Authority>> = named.map(|named| named.to_str().ok()?.parse().ok());
    let missing = named.is_none() && version == Version::HTTP_11;
    let has_user = |authority: &Authority| authority.as_str().contains('@');
    let unsound = parsed.iter().any(|host| host.as_ref().is_none_or(has_user)) || uri.authority().is_some_and(has_user);
    if missing || unsound || given.next().is_some() {
        return Err(Error::invalid(
            "host",
            "the request has no sound Host header: send one, such as `Host: 127.0.0.1:8080`",
        ));
    }
    Ok(uri.authority().cloned().or(parsed.flatten()))
}

fn is_browser(headers: &HeaderMap) -> bool {
    let mozilla = headers.get(header::USER_AGENT).is_some_and(|agent| agent.as_bytes().starts_with(b"Mozilla/"));
    mozilla || [header::ORIGIN, header::REFERER, SEC_FETCH_SITE].iter().any(|name| headers.contains_key(name))
}

/// A fetch by a page of another site that sends no `Origin`, such as an `<img>`. A link that a person follows is none.
fn is_foreign_fetch(method: &Method, headers: &HeaderMap) -> bool {
    let is = |name: HeaderName, values: &[&str]| {
        headers.get(name).and_then(|value| value.to_str().ok()).is_some_and(|value| values.contains(&value))
    };
    let followed = *method == Method::GET && is(SEC_FETCH_MODE, &["navigate"]);
    is(SEC_FETCH_SITE, &["cross-site", "same-site"]) && !followed
}

fn foreign_fetch() -> Error {
    let message = "another site's page fetches this without saying which it is: name the page's origin by --cors-origin, \
                   and mark its element `crossorigin`";
    Error::new(Reason::PermissionDenied, message)
}

fn foreign(origin: &str) -> Error {
    let shown = origin.escape_default();
    let message = format!("pages of {shown} may not use this server: start it with --cors-origin {shown} to let them");
    Error::new(Reason::PermissionDenied, message)
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version};

    use super::Origins;

    fn allowed(origins: &Origins, method: Method, headers: &[(&'static str, &'static str)]) -> bool {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        origins.check(Version::HTTP_11, &method, &Uri::from_static("/v1/images"), &headers).is_ok()
    }

    #[test]
    fn on_loopback_only_our_own_page_and_named_ones() {
        let origins = Origins::new(vec!["https://press.example".into()], true);
        let cases: [(&[(&str, &str)], bool); 21] = [
            (&[("host", "127.0.0.1:8080")], true),
            (&[("host", "localhost:8080")], true),
            (&[("host", "LOCALHOST:8080")], true),
            (&[("host", "localhost.")], true),
            (&[("host", "a.LocalHost")], true),
            (&[("host", "notlocalhost")], false),
            (&[("host", "localhost.evil.example")], false),
            (&[("host", "localhost..")], false),
            (&[("host", "[::1]:8080")], true),
            (&[("host", "evil.example:8080")], false),
            (&[("host", "10.0.0.9:8080")], false),
            (&[], false),
            (&[("host", "")], false),
            (&[("host", "me@127.0.0.1:8080")], false),
            (&[("host", "127.0.0.1:8080"), ("origin", "http://127.0.0.1:8080")], true),
            (&[("host", "127.0.0.1:8080"), ("origin", "http://127.0.0.1:9")], false),
            (&[("host", "127.0.0.1:8080"), ("origin", "https://press.example")], true),
            (&[("host", "127.0.0.1:8080"), ("origin", "null")], false),
            (&[("host", "evil.example"), ("origin", "http://evil.example")], false),
            (&[("host", "127.0.0.1:8080"), ("sec-fetch-site", "cross-site")], false),
            (&[("host", "127.0.0.1:8080"), ("sec-fetch-site", "same-origin")], true),
        ];
        for (headers, expected) in cases {
            assert_eq!(allowed(&origins, Method::GET, headers), expected, "{headers:?}");
        }
        for version in [Version::HTTP_10, Version::HTTP_2] {
            assert!(origins.check(version, &Method::GET, &Uri::from_static("/v1/images"), &HeaderMap::new()).is_ok());
        }
        let link = [("host", "localhost"), ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")];
        assert!(allowed(&origins, Method::GET, &link));
        assert!(!allowed(&origins, Method::POST, &link));
    }

    #[test]
    fn beyond_loopback_browsers_are_held_to_known_names() {
        let origins = Origins::new(vec!["http://photos.example:8080".into()], false);
        let cases: [(&[(&str, &str)], bool); 5] = [
            (&[("host", "wirephoto:8080")], true),
            (&[("host", "10.0.0.9:8080"), ("user-agent", "Mozilla/5.0")], true),
            (&[("host", "wirephoto:8080"), ("user-agent", "Mozilla/5.0")], false),
            (&[("host", "wirephoto:8080"), ("origin", "http://wirephoto:8080")], false),
            (&[("host", "photos.example:8080"), ("user-agent", "Mozilla/5.0")], true),
        ];
        for (headers, expected) in cases {
            assert_eq!(allowed(&origins, Method::GET, headers), expected, "{headers:?}");
        }
    }
}
