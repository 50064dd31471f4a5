//! Flags, environment and file into a [`Config`] that holds only what can be served: parsed, not validated later.

mod file;
pub(crate) mod parse;

use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::cli::ServeArgs;
use crate::guard::Access;
use file::File;

/// How `serve` runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Address to listen on.
    pub listen: SocketAddr,
    /// URL of the store.
    pub store: String,
    /// Largest image taken, in bytes.
    pub max_image_size: u64,
    /// Whether local files are synced before a write is acknowledged.
    pub fsync: bool,
    /// Web origins whose pages may read and write, as browsers write them in `Origin`.
    pub cors_origins: Vec<String>,
    /// What callers without credentials may do, where it was said. It always is beyond loopback.
    pub allow_anonymous: Option<Access>,
    /// Whether reflection, `/docs` and `/openapi.json` answer.
    pub reflection: bool,
    /// Whether, and how, TLS is spoken.
    pub tls: Option<TlsFiles>,
}

/// PEM files of the server's side of TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, followed by those between it and its root.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The CAs that clients' certificates must be of; without it, clients need none.
    pub client_ca: Option<PathBuf>,
}

/// A value that cannot be used: where it was, what it is and how to mend it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8080);
const DEFAULT_STORE: &str = "file:wirephoto-data";
const DEFAULT_MAX_IMAGE_SIZE: u64 = 1 << 30;

impl Config {
    /// The configuration that `args`, the variables `env` looks up, and the file they name come to.
    ///
    /// # Errors
    /// The first value that cannot be used; nothing has been opened or bound.
    pub fn load(args: &ServeArgs, env: impl Fn(&str) -> Option<OsString>) -> Result<Self, ConfigError> {
        let mut sources = Sources::new(&env);
        if let Some(path) = sources.find("config", args.config.as_deref())? {
            sources.file = Some(File::read(&path)?);
        }
        let find = |key, flag: &Option<String>| sources.find(key, flag.as_deref());
        let listen = find("listen", &args.listen)?;
        let address = listen.as_ref().map(|value| value.parse(parse::address)).transpose()?.unwrap_or(DEFAULT_LISTEN);
        let loopback = address.ip().to_canonical().is_loopback();
        let max_image_size = find("max-image-size", &args.max_image_size)?;
        let fsync = find("fsync", &args.fsync)?;
        let origins = Some(args.cors_origins.join(",")).filter(|_| !args.cors_origins.is_empty());
        let origins = find("cors-origin", &origins)?;
        let access = find("allow-anonymous", &args.allow_anonymous)?;
        let reflection = find("reflection", &args.reflection)?;
        let config = Self {
            listen: address,
            store: match find("store", &args.store)? {
                Some(store) => store.parse(parse::store)?,
                None => DEFAULT_STORE.to_owned(),
            },
            max_image_size: match max_image_size {
                Some(size) => size.parse(parse::size)?,
                None => DEFAULT_MAX_IMAGE_SIZE,
            },
            fsync: fsync.map(|switch| switch.parse(parse::switch)).transpose()?.unwrap_or(true),
            cors_origins: origins.map(|origins| origins.parse(parse::origins)).transpose()?.unwrap_or_default(),
            allow_anonymous: access.map(|access| access.parse(parse::access)).transpose()?,
            reflection: reflection
                .map(|value| value.parse(parse::reflection))
                .transpose()?
                .flatten()
                .unwrap_or(loopback),
            tls: tls(
                find("tls-cert", &args.tls_cert)?,
                find("tls-key", &args.tls_key)?,
                find("tls-client-ca", &args.tls_client_ca)?,
            )?,
        };
        let credentials = config.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
        match listen {
            Some(listen) if !loopback && !credentials && config.allow_anonymous.is_none() => Err(listen.error(
                "is beyond loopback, where anybody could write and delete: add --allow-anonymous=read or \
                 --allow-anonymous=write (WIREPHOTO_ALLOW_ANONYMOUS), ask for certificates by --tls-client-ca, or listen \
                 on 127.0.0.1",
            )),
            _ => Ok(config),
        }
    }
}

/// Certificate and key belong together, and a clients' CA to both.
fn tls(cert: Option<Value>, key: Option<Value>, client_ca: Option<Value>) -> Result<Option<TlsFiles>, ConfigError> {
    match (cert, key, client_ca) {
        (Some(cert), Some(key), client_ca) => Ok(Some(TlsFiles {
            cert: cert.text.into(),
            key: key.text.into(),
            client_ca: client_ca.map(|ca| ca.text.into()),
        })),
        (None, None, None) => Ok(None),
        (Some(cert), None, _) => Err(cert.error("has no key beside it: add --tls-key (WIREPHOTO_TLS_KEY)")),
        (None, Some(key), _) => Err(key.error("has no certificate beside it: add --tls-cert (WIREPHOTO_TLS_CERT)")),
        (None, None, Some(ca)) => {
            Err(ca.error("asks clients for certificates, which takes TLS: add --tls-cert and --tls-key"))
        }
    }
}

/// Where values come from, the first that has one: flag, environment, file.
pub(crate) struct Sources<'a> {
    env: &'a dyn Fn(&str) -> Option<OsString>,
    file: Option<File>,
}

/// A value and where it was found.
pub(crate) struct Value {
    text: String,
    origin: String,
}

impl<'a> Sources<'a> {
    pub(crate) fn new(env: &'a dyn Fn(&str) -> Option<OsString>) -> Self {
        Self { env, file: None }
    }

    /// The value of `key`, which is the flag's name without its dashes. An empty variable counts as none.
    pub(crate) fn find(&self, key: &str, flag: Option<&str>) -> Result<Option<Value>, ConfigError> {
        if let Some(flag) = flag {
            return Ok(Some(Value { text: flag.to_owned(), origin: format!("--{key}") }));
        }
        let variable = format!("WIREPHOTO_{}", key.replace('-', "_").to_uppercase());
        match (self.env)(&variable).filter(|value| !value.is_empty()).map(OsString::into_string) {
            Some(Ok(text)) => return Ok(Some(Value { text, origin: variable })),
            Some(Err(_)) => return Err(ConfigError(format!("{variable}: its value is not UTF-8 text; write it anew"))),
            None => {}
        }
        Ok(self.file.as_ref().and_then(|file| file.get(key)))
    }
}

impl Value {
    /// What `parse` makes of the text; its error, which follows "`text` ", is told with the value's origin.
    pub(crate) fn parse<T, E: fmt::Display>(&self, parse: impl FnOnce(&str) -> Result<T, E>) -> Result<T, ConfigError> {
        parse(&self.text).map_err(|why| self.error(why))
    }

    /// As [`Value::parse`], for an error that tells the value itself, or must not.
    pub(crate) fn parse_quietly<T, E: fmt::Display>(
        &self,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<T, ConfigError> {
        parse(&self.text).map_err(|why| ConfigError(format!("{}: {why}", self.origin)))
    }

    fn error(&self, why: impl fmt::Display) -> ConfigError {
        ConfigError(format!("{}: `{}` {why}", self.origin, self.text.escape_debug()))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    fn load(flags: &[&str], env: &[(&str, &str)]) -> Result<Config, String> {
        let Command::Serve(args) = Cli::parse_from(["wirephoto", "serve"].iter().chain(flags)).command else {
            panic!("not serve");
        };
        let find = |name: &str| env.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into());
        Config::load(&args, find).map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_are_safe() {
        let expected = Config {
            listen: "127.0.0.1:8080".parse().unwrap(),
            store: "file:wirephoto-data".into(),
            max_image_size: 1 << 30,
            fsync: true,
            cors_origins: vec![],
            allow_anonymous: None,
            reflection: true,
            tls: None,
        };
        assert_eq!(load(&[], &[]).unwrap(), expected);
    }

    #[test]
    fn flag_beats_environment_beats_file_beats_default() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(
            file.path(),
            "listen = '127.0.0.1:3'\nmax-image-size = '3MB'\nfsync = false\nstore = 'memory:'\nreflection = 'off'\n\
             cors-origin = ['https://a.example', 'https://b.example:8443']\nallow-anonymous = 'read'\n",
        )
        .unwrap();
        let path = file.path().to_str().unwrap();
        let config = load(
            &["--listen=127.0.0.1:1", "--config", path],
            &[("WIREPHOTO_LISTEN", "127.0.0.1:2"), ("WIREPHOTO_MAX_IMAGE_SIZE", "2MB"), ("WIREPHOTO_FSYNC", "")],
        );
        let expected = Config {
            listen: "127.0.0.1:1".parse().unwrap(),
            store: "memory:".into(),
            max_image_size: 2_000_000,
            fsync: false,
            cors_origins: vec!["https://a.example".into(), "https://b.example:8443".into()],
            allow_anonymous: Some(Access::Read),
            reflection: false,
            tls: None,
        };
        assert_eq!(config.unwrap(), expected);
        let config = load(&["--allow-anonymous"], &[("WIREPHOTO_CONFIG", path)]).unwrap();
        assert_eq!((config.listen.port(), config.allow_anonymous), (3, Some(Access::Write)));
        let config = load(
            &["--cors-origin", "https://c.example", "--cors-origin=http://d.example,http://e.example"],
            &[("WIREPHOTO_CORS_ORIGIN", "https://f.example")],
        );
        assert_eq!(config.unwrap().cors_origins, ["https://c.example", "http://d.example", "http://e.example"]);
    }

    #[test]
    fn beyond_loopback_says_who_may_come_in() {
        for address in ["0.0.0.0:8080", "[::]:0", "192.0.2.1:80", "[::ffff:192.0.2.1]:80"] {
            let error = load(&["--listen", address], &[]).unwrap_err();
            assert!(error.contains(address) && error.contains("--allow-anonymous=read"), "{error}");
            let config = load(&["--listen", address, "--allow-anonymous=read"], &[]).unwrap();
            assert_eq!((config.allow_anonymous, config.reflection), (Some(Access::Read), false));
            assert!(load(&["--listen", address, "--allow-anonymous", "--reflection=on"], &[]).unwrap().reflection);
        }
        for address in ["127.0.0.1:0", "127.9.9.9:1", "[::1]:8080", "[::ffff:127.0.0.1]:80"] {
            assert!(load(&["--listen", address], &[]).unwrap().reflection, "{address}");
        }
    }

    #[test]
    fn certificates_of_clients_are_credentials() {
        let tls = ["--tls-cert=a.pem", "--tls-key=a.key"];
        let beyond = |more: &[&str]| load(&[&["--listen=0.0.0.0:1"], &tls[..], more].concat(), &[]);
        assert!(beyond(&[]).unwrap_err().contains("--tls-client-ca"));
        let config = beyond(&["--tls-client-ca=ca.pem"]).unwrap();
        let expected = TlsFiles { cert: "a.pem".into(), key: "a.key".into(), client_ca: Some("ca.pem".into()) };
        assert_eq!((config.tls, config.allow_anonymous), (Some(expected), None));
        let mixed = load(&["--tls-cert=a.pem"], &[("WIREPHOTO_TLS_KEY", "b.key")]).unwrap();
        assert_eq!(mixed.tls.unwrap().key, PathBuf::from("b.key"));
    }

    #[test]
    fn a_bad_value_is_named_with_its_place_and_its_mend() {
        let flags: &[(&[&str], &[&str])] = &[
            (&["--listen=localhost:80"], &["--listen: `localhost:80`", "127.0.0.1:8080"]),
            (&["--listen=127.0.0.1"], &["--listen", "port"]),
            (&["--listen=127.0.0.1:65536"], &["--listen", "65536"]),
            (&["--store=images"], &["--store: `images`", "file:images"]),
            (&["--store=file:"], &["--store", "file:DIR"]),
            (&["--store=ftp://x"], &["--store", "s3://"]),
            (&["--max-image-size=1G"], &["--max-image-size: `1G`", "GB", "GiB"]),
            (&["--max-image-size=0"], &["--max-image-size", "0"]),
            (&["--fsync=yes"], &["--fsync: `yes`", "on or off"]),
            (&["--cors-origin=app.example"], &["--cors-origin: `app.example`", "https://app.example"]),
            (&["--cors-origin=https://a.example/"], &["--cors-origin", "without a path"]),
            (&["--cors-origin=*"], &["--cors-origin: `*`", "https://app.example"]),
            (&["--allow-anonymous=admin"], &["--allow-anonymous: `admin`", "read or write"]),
            (&["--tls-cert=a.pem"], &["--tls-cert: `a.pem`", "--tls-key"]),
            (&["--tls-key=a.key"], &["--tls-key: `a.key`", "--tls-cert"]),
            (&["--tls-client-ca=ca.pem"], &["--tls-client-ca: `ca.pem`", "--tls-cert", "--tls-key"]),
            (&["--reflection=maybe"], &["--reflection: `maybe`", "auto, on or off"]),
            (&["--config=/nonexistent.toml"], &["--config", "/nonexistent.toml"]),
        ];
        for (flags, parts) in flags {
            let error = load(flags, &[]).unwrap_err();
            assert!(parts.iter().all(|part| error.contains(part)), "{flags:?}: {error}");
        }
        let error = load(&[], &[("WIREPHOTO_ALLOW_ANONYMOUS", "all")]).unwrap_err();
        assert!(error.starts_with("WIREPHOTO_ALLOW_ANONYMOUS: `all`"), "{error}");
        let error = load(&["--listen=1.2.3.4:5\n"], &[]).unwrap_err();
        assert!(error.contains("5\\n"), "{error}");
    }

    #[test]
    fn a_bad_file_is_named_with_its_key_and_its_mend() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap();
        let files: &[(&str, &[&str])] = &[
            ("listne = '127.0.0.1:1'", &["`listne`", "known", "listen", "max-image-size", "reflection"]),
            ("listen = 8080", &["`listen`", "text"]),
            ("listen = 'x'", &["`listen` in", "`x`"]),
            ("max-image-size = -1", &["`max-image-size`", "-1"]),
            ("fsync = 'maybe'", &["`fsync`", "on or off"]),
            ("cors-origin = [1]", &["`cors-origin`", "list"]),
            ("[serve]\nlisten = '127.0.0.1:1'", &["`serve`", "known"]),
            ("listen = ", &["TOML", "line 1"]),
        ];
        for (text, parts) in files {
            std::fs::write(file.path(), text).unwrap();
            let error = load(&["--config", path], &[]).unwrap_err();
            assert!(error.contains(path) && parts.iter().all(|part| error.contains(part)), "{text}: {error}");
        }
        std::fs::write(file.path(), "max-image-size = 5\nallow-anonymous = false\nfsync = true\n").unwrap();
        let config = load(&["--config", path], &[]).unwrap();
        assert_eq!((config.max_image_size, config.allow_anonymous, config.fsync), (5, None, true));
    }
}
