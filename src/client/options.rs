//! How to reach a server: where it is, who asks, and how long a call may take.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Uri;

use super::{Error, Tls};
use crate::error::Code;

/// The server a client talks to unless told otherwise.
pub const DEFAULT_SERVER: &str = "http://127.0.0.1:8080";

/// How to reach a server, or several of them. The default is [`DEFAULT_SERVER`] without credentials.
#[derive(Debug, Clone, Default)]
pub struct ClientOptions {
    /// Where it is; where they are, if several serve the same images.
    pub servers: Servers,
    /// Whom to trust and which certificate to show, where a server's URL begins with `https`. Without it the system's
    /// CAs are trusted and no certificate is shown.
    pub tls: Option<Tls>,
    /// Bearer token sent with every call.
    pub token: Option<Token>,
    /// The longest a whole call may take, through the last byte of a transfer.
    ///
    /// Without it, transfers may take 6 hours, the longest a server grants, and every other call 30 seconds.
    pub timeout: Option<Duration>,
}

/// Where a server is: `http://HOST:PORT` or `https://HOST:PORT`, which is what [`str::parse`] takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server(Uri);

impl Default for Server {
    fn default() -> Self {
        Self(Uri::from_static(DEFAULT_SERVER))
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.to_string().trim_end_matches('/'))
    }
}

impl Server {
    pub(super) fn uri(&self) -> Uri {
        self.0.clone()
    }

    /// Its name or address, without the brackets of an IPv6 address.
    pub(super) fn host(&self) -> &str {
        self.0.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']')
    }

    pub(super) fn port(&self) -> u16 {
        self.0.port_u16().unwrap_or(if self.is_secure() { 443 } else { 80 })
    }

    /// Whether it speaks TLS.
    pub fn is_secure(&self) -> bool {
        self.0.scheme_str() == Some("https")
    }

    /// Whether it is said by its address, not by a name that has some.
    pub(super) fn is_address(&self) -> bool {
        self.host().parse::<IpAddr>().is_ok()
    }

    /// The same at one of its addresses.
    pub(super) fn at(&self, address: SocketAddr) -> Result<Uri, Error> {
        let uri = Uri::builder()
            .scheme(self.0.scheme_str().unwrap_or("http"))
            .authority(address.to_string())
            .path_and_query("/")
            .build();
        uri.map_err(|error| Error::local(Code::Internal, format!("{address} makes no URL")).caused_by(error))
    }
}

/// One server or several that serve the same images: `http://a:8080,http://b:8080` is what [`str::parse`] takes.
///
/// Calls go to them in turn. A name with several addresses of a kind counts as that many servers. Those that cannot be
/// reached are left out until they answer again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Servers(Vec<Server>);

impl Servers {
    /// One after the other.
    pub fn iter(&self) -> impl Iterator<Item = &Server> {
        self.0.iter()
    }
}

impl Default for Servers {
    fn default() -> Self {
        Server::default().into()
    }
}

impl From<Server> for Servers {
    fn from(server: Server) -> Self {
        Self(vec![server])
    }
}

impl fmt::Display for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, server) in self.0.iter().enumerate() {
            write!(f, "{}{server}", if i == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl FromStr for Servers {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        text.split(',').map(|server| server.trim().parse()).collect::<Result<_, _>>().map(Self)
    }
}

impl FromStr for Server {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let bad = |why: &str| {
            let text = text.escape_debug();
            Error::local(
                Code::InvalidArgument,
                format!("`{text}` is no server: {why}; write http://HOST:PORT or https://HOST:PORT"),
            )
        };
        if text.contains('@') {
            // Not repeated: it may hold a password.
            let message = "a server's URL holds no user and no password: write http://HOST:PORT, and give a token";
            return Err(Error::local(Code::InvalidArgument, message));
        }
        let uri: Uri = text.parse().map_err(|_| bad("it is no URL"))?;
        match uri.scheme_str() {
            Some("http" | "https") => {}
            Some(_) => return Err(bad("its scheme is neither http nor https")),
            None => return Err(bad("it has no scheme")),
        }
        if uri.host().is_none_or(str::is_empty) {
            return Err(bad("it has no host"));
        }
        if uri
            .authority()
            .is_some_and(|authority| authority.as_str() != authority.host() && authority.port_u16().is_none())
        {
            return Err(bad("its port is no number up to 65535"));
        }
        if uri.path() != "/" || uri.query().is_some() {
            return Err(bad("it has a path"));
        }
        Ok(Self(uri))
    }
}

/// A bearer token (RFC 6750), which nothing shows.
#[derive(Clone)]
pub struct Token(MetadataValue<Ascii>);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Token {
    /// The value of `authorization`.
    pub(super) fn into_header(self) -> MetadataValue<Ascii> {
        self.0
    }
}

impl FromStr for Token {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        // RFC 6750, section 2.1: b64token.
        let fits =
            !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte));
        let value = fits.then(|| format!("Bearer {text}").parse().ok()).flatten();
        let mut value: MetadataValue<Ascii> = value.ok_or_else(|| {
            let message =
                "the token has characters that no bearer token has: letters, digits and -._~+/= may stand in it";
            Error::local(Code::InvalidArgument, message)
        })?;
        value.set_sensitive(true);
        Ok(Self(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_scheme_host_and_port() {
        for good in ["http://127.0.0.1:8080", "http://localhost", "http://[::1]:80/", "https://images.example:8443"] {
            assert!(good.parse::<Server>().is_ok(), "{good}");
        }
        for (bad, why) in [
            ("localhost:8080", "no scheme"),
            ("ftp://localhost", "neither http nor https"),
            ("http://localhost/v1", "a path"),
            ("http://localhost/?a", "a path"),
            ("http://localhost:99999", "its port"),
            ("http://[::1]:", "its port"),
            ("", "no URL"),
            ("http://", "no URL"),
        ] {
            let error = bad.parse::<Server>().unwrap_err().to_string();
            assert!(error.contains(why) && error.contains("http://HOST:PORT"), "{bad:?}: {error}");
        }
        let error = "http://me:secret@localhost".parse::<Server>().unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
    }

    #[test]
    fn several_servers_are_parted_by_commas() {
        let servers: Servers = "http://a:1, http://[::1]:2,https://b".parse().unwrap();
        assert_eq!(servers.to_string(), "http://a:1,http://[::1]:2,https://b");
        let parts: Vec<_> = servers.iter().map(|server| (server.host(), server.port(), server.is_address())).collect();
        assert_eq!(parts, [("a", 1, false), ("::1", 2, true), ("b", 443, false)]);
        for bad in ["http://a,", ",", "http://a;http://b"] {
            assert!(bad.parse::<Servers>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_token_is_never_shown() {
        assert!("abc.DEF-123_~+/==".parse::<Token>().unwrap().0.is_sensitive());
        for bad in ["", "with space", "new\nline", "ümlaut"] {
            let error = bad.parse::<Token>().unwrap_err().to_string();
            assert!(error.contains("token") && (bad.is_empty() || !error.contains(bad)), "{error}");
        }
        let options = ClientOptions { token: Some("hush".parse().unwrap()), ..ClientOptions::default() };
        assert!(!format!("{options:?}").contains("hush"));
    }
}
