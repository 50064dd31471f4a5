//! `wirephoto get NAME…`: the bytes into files that appear whole and verified, a few at once, or to stdout.

use std::cell::Cell;
use std::fs;
use std::future::ready;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio::fs::File;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use super::bar::Bars;
use super::{Failure, complain, connect, image_id};
use crate::cli::GetArgs;
use crate::client::{Client, Download, Progress as _};
use crate::image::id::ImageId;

pub(super) async fn run(args: GetArgs) -> Result<(), Failure> {
    let ids = args.names.iter().map(|name| image_id(name)).collect::<Result<Vec<_>, _>>()?;
    let client = connect(&args.client)?;
    let bars = Bars::default();
    if let [id] = &ids[..] {
        return match args.output {
            Some(output) if output == Path::new("-") => to_stdout(&client, id, &bars).await,
            Some(output) if output.is_dir() => to_file(&client, id, output.join(id.as_str()), &bars).await,
            Some(output) if output.as_os_str().as_encoded_bytes().ends_with(b"/") => Err(no_folder(&output)),
            Some(output) => to_file(&client, id, output, &bars).await,
            None => to_file(&client, id, PathBuf::from(id.as_str()), &bars).await,
        };
    }
    let folder = args.output.unwrap_or_else(|| ".".into());
    if !folder.is_dir() {
        return Err(no_folder(&folder));
    }
    let (client, bars, folder) = (&client, &bars, &folder);
    let mut failed = false;
    // Once no server can be reached, none is tried for the rest, and it is told once.
    let gone = Cell::new(false);
    let downloads = stream::iter(&ids)
        .take_while(|_| ready(!gone.get()))
        .map(async |id| (id, to_file(client, id, folder.join(id.as_str()), bars).await))
        .buffered(args.jobs.into());
    let mut downloads = pin!(downloads);
    while let Some((id, outcome)) = downloads.next().await {
        let Err(failure) = outcome else { continue };
        failed = true;
        if !(matches!(failure, Failure::Unreachable(_)) && gone.replace(true)) {
            bars.above(|| complain(id, failure.message().unwrap_or_default()));
        }
    }
    if failed { Err(Failure::Told) } else { Ok(()) }
}

fn no_folder(output: &Path) -> Failure {
    Failure::Usage(format!("-o: `{}` is no folder: make it first", output.display()))
}

async fn to_stdout(client: &Client, id: &ImageId, bars: &Bars) -> Result<(), Failure> {
    let download = client.download(&id.name(), ..).await?;
    copy(download, tokio::io::stdout(), id, bars, Failure::stdout).await
}

async fn to_file(client: &Client, id: &ImageId, target: PathBuf, bars: &Bars) -> Result<(), Failure> {
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
        return copy(download, file, id, bars, unwritable).await;
    }
    let (partial, file) = Partial::create(&target).map_err(|error| unwritable(&error))?;
    let mut file = File::from_std(file);
    file.set_max_buf_size(1 << 20);
    copy(download, file, id, bars, unwritable).await?;
    partial.publish(&target).map_err(|error| unwritable(&error))
}

/// Copies to the end, which is where the bytes are known to be right.
async fn copy(
    mut download: Download,
    mut out: impl AsyncWrite + Unpin,
    id: &ImageId,
    bars: &Bars,
    unwritable: impl Fn(&io::Error) -> Failure,
) -> Result<(), Failure> {
    let bar = bars.add(id.as_str());
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
        let partial = Self { path: Some(path) };
        if let Ok(replaced) = fs::metadata(target) {
            file.set_permissions(replaced.permissions())?;
        }
        Ok((partial, file))
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
