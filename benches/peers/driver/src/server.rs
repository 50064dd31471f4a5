//! The servers under test: how each is started, and that it is gone afterwards.

use std::net::TcpStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// Where everything lies.
pub struct Places {
    pub work: PathBuf,
    pub peers: PathBuf,
    pub wirephoto: PathBuf,
    pub tls: bool,
}

impl Places {
    pub fn images(&self) -> PathBuf {
        self.work.join("images")
    }

    /// Where our server keeps its images.
    pub fn store(&self) -> PathBuf {
        self.work.join("store")
    }

    /// The program of a server, and how it is told to do its best.
    fn program(&self, server: &str) -> (PathBuf, &'static str) {
        let peer = |name: &str, mode| (self.peers.join(name), mode);
        match server {
            "wirephoto" => (self.wirephoto.clone(), ""),
            "tonic" => peer("peer-tonic", "plain"),
            "grpc-go" => peer("peer-go", "plain"),
            "grpc-go tuned" => peer("peer-go", "tuned"),
            "grpc++" => peer("peer-cpp", "plain"),
            "grpc++ zero-copy" => peer("peer-cpp", "tuned"),
            "connectrpc" => peer("peer-connectrpc", "plain"),
            "connectrpc segments" => peer("peer-connectrpc", "tuned"),
            _ => (
                ["/usr/sbin/nginx", "/usr/bin/nginx"]
                    .map(PathBuf::from)
                    .into_iter()
                    .find(|path| path.exists())
                    .unwrap_or_default(),
                "",
            ),
        }
    }

    /// Why the server cannot be measured here.
    pub fn missing(&self, server: &str) -> Option<String> {
        let (program, _) = self.program(server);
        if program.is_file() {
            return None;
        }
        let log = program.with_extension("log");
        let name = if server == "nginx" {
            "it is not installed".to_owned()
        } else {
            format!("there is no {}", program.display())
        };
        Some(if log.exists() { format!("it did not build: see {}", log.display()) } else { name })
    }

    fn command(&self, server: &str, port: u16) -> Result<Command> {
        let (program, mode) = self.program(server);
        let mut command = Command::new(program);
        let (certificate, key) = (self.work.join("tls.pem"), self.work.join("tls.key"));
        match server {
            "nginx" => {
                let listen = if self.tls { format!("{port} ssl") } else { port.to_string() };
                let tls = if self.tls {
                    format!("ssl_certificate {}; ssl_certificate_key {};", certificate.display(), key.display())
                } else {
                    String::new()
                };
                let work = self.work.display();
                let config = format!(
                    "{}worker_processes auto; daemon off; pid {work}/nginx.pid; error_log stderr;\n\
                     events {{ worker_connections 1024; }}\n\
                     http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000;\n\
                     types {{ image/bmp bmp; }}\n\
                     client_body_temp_path {work}/nginx; proxy_temp_path {work}/nginx; fastcgi_temp_path {work}/nginx;\n\
                     uwsgi_temp_path {work}/nginx; scgi_temp_path {work}/nginx;\n\
                     server {{ listen 127.0.0.1:{listen}; {tls} location /i/ {{ alias {}/; }} }} }}\n",
                    // SAFETY: reads an id.
                    if unsafe { libc::geteuid() } == 0 { "user root; " } else { "" },
                    self.images().display(),
                );
                let path = self.work.join("nginx.conf");
                std::fs::write(&path, config)?;
                command.args(["-e", "stderr", "-p"]).arg(&self.work).arg("-c").arg(path);
            }
            "wirephoto" => {
                command.args(["serve", "--fsync", "off", "--listen", &format!("127.0.0.1:{port}"), "--store"]);
                command.arg(format!("file:{}", self.store().display()));
                command.env("WIREPHOTO_LOG", "error");
                if self.tls {
                    command.arg("--tls-cert").arg(certificate).arg("--tls-key").arg(key);
                }
            }
            _ => {
                command.arg(port.to_string()).arg(self.images()).arg(mode);
            }
        }
        Ok(command)
    }
}

pub struct Running {
    child: Child,
    pub port: u16,
    name: String,
    log: PathBuf,
}

impl Running {
    pub fn start(places: &Places, server: &str) -> Result<Self> {
        let port = std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let log = places.work.join("server.log");
        let output = std::fs::File::create(&log)?;
        let mut command = places.command(server, port)?;
        command.process_group(0);
        // SAFETY: prctl may be called between fork and exec. A server does not outlive a run that was killed.
        unsafe {
            command.pre_exec(|| {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM);
                Ok(())
            });
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("starting {server}"))?;
        let mut running = Self { child, port, name: server.to_owned(), log };
        let begin = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if let Some(status) = running.child.try_wait()? {
                bail!("{server} ended at once ({status}): {}", running.said());
            }
            if begin.elapsed() > Duration::from_secs(20) {
                bail!("{server} does not listen after 20 seconds: {}", running.said());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(running)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// An error when the server has ended: what was measured is not its work.
    pub fn still_there(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!("{} died ({status}): {}", self.name, self.said()),
            None => Ok(()),
        }
    }

    /// Whether what is uploaded can be got back: the peers only count it.
    pub fn keeps_uploads(&self) -> bool {
        self.name == "wirephoto"
    }

    /// The last of what the server wrote.
    pub fn said(&self) -> String {
        tail(&self.log)
    }
}

fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(4)..].join(" | ")
}

impl Drop for Running {
    fn drop(&mut self) {
        // SAFETY: a signal to a child that was not waited for, so that its id is still its own.
        unsafe { libc::kill(self.child.id() as libc::pid_t, libc::SIGTERM) };
        let ended = (0..500).any(|_| {
            std::thread::sleep(Duration::from_millis(10));
            !matches!(self.child.try_wait(), Ok(None))
        });
        if !ended {
            eprintln!("{} did not end within five seconds and was killed", self.name);
        }
        // What a server started goes with it, even when the server itself died first.
        // SAFETY: a signal to the group that was made for this child.
        unsafe { libc::kill(-(self.child.id() as libc::pid_t), libc::SIGKILL) };
        let _ = self.child.wait();
    }
}
