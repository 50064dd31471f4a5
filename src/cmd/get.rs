//! `wirephoto get NAME`: the bytes into a file that appears whole and verified, or to stdout.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use futures::TryStreamExt as _;
use tokio::fs::File;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use super::bar::Bar;
use super::{Failure, connect, image_id};
use crate::cli::GetArgs;
use crate::client::{Client, Download, Progress as _};
use crate::image::id::ImageId;

pub(super) async fn run(args: GetArgs) -> Result<(), Failure> {
    let id = image_id(&args.name)?;
    let client = connect(&args.client)?;
    match args.output {
        Some(output) if output == Path::new("-") => to_stdout(&client, &id).await,
        Some(output) if output.is_dir() => to_file(&client, &id, output.join(id.as_str())).await,
        Some(output) => to_file(&client, &id, output).await,
        None => to_file(&client, &id, PathBuf::from(id.as_str())).await,
    }
}

async fn to_stdout(client: &Client, id: &ImageId) -> Result<(), Failure> {
    let download = client.download(&id.name(), ..).await?;
    copy(download, tokio::io::stdout(), id, Failure::stdout).await
}

async fn to_file(client: &Client, id: &ImageId, target: PathBuf) -> Result<(), Failure> {
    // What a link points to is replaced, not the link.
    let target = fs::canonicalize(&target).unwrap_or(target);
    let unwritable = |error: &io::Error| Failure::Failed(format!("cannot write {}: {error}", target.display()));
    if target.is_dir() {
        let folder = target.display();
        return Err(Failure::Failed(format!("cannot write {folder}: it is a folder; name the file with -o")));
    }
    let download = client.download(&id.name(), ..).await?;
    if fs::metadata(&target).is_ok_and(|metadata| !metadata.is_file()) {
        // A device or a pipe is written to, never replaced by a file.
        let file = File::options().write(true).open(&target).await.map_err(|error| unwritable(&error))?;
        return copy(download, file, id, unwritable).await;
    }
    let (partial, file) = Partial::create(&target).map_err(|error| unwritable(&error))?;
    let mut file = File::from_std(file);
    file.set_max_buf_size(1 << 20);
    copy(download, file, id, unwritable).await?;
    partial.publish(&target).map_err(|error| unwritable(&error))
}

/// Copies to the end, which is where the bytes are known to be right.
async fn copy(
    mut download: Download,
    mut out: impl AsyncWrite + Unpin,
    id: &ImageId,
    unwritable: impl Fn(&io::Error) -> Failure,
) -> Result<(), Failure> {
    let bar = Bar::new(id.as_str());
    let range = download.range();
    bar.total(range.end - range.start);
    let copied = async {
        while let Some(piece) = download.try_next().await? {
            out.write_all(&piece).await.map_err(|error| unwritable(&error))?;
            bar.advance(piece.len() as u64);
        }
        out.flush().await.map_err(|error| unwritable(&error))
    }
    .await;
    bar.clear();
    copied
}

/// A file beside its target that is removed unless it is published.
struct Partial {
    path: Option<PathBuf>,
}

impl Partial {
    fn create(target: &Path) -> io::Result<(Self, fs::File)> {
        let unique = uuid::Uuid::new_v4().simple().to_string();
        let path = target.with_file_name(format!(".wirephoto-{unique}.part"));
        let file = fs::File::options().write(true).create_new(true).open(&path)?;
        Ok((Self { path: Some(path) }, file))
    }

    fn publish(mut self, target: &Path) -> io::Result<()> {
        if let Some(path) = &self.path {
            fs::rename(path, target)?;
        }
        self.path = None;
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // It may be gone already; there is nothing else to do about it.
            let _ = fs::remove_file(path);
        }
    }
}
