//! `wirephoto put FILE…`: a few uploads at once; what fails is told, and the rest goes on.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::future::ready;
use std::path::{Path, PathBuf};
use std::pin::pin;

use futures::{StreamExt as _, stream};

use super::bar::Bars;
use super::name::{display_name, from_file_name};
use super::{Failure, complain, connect, explain, print, print_json, safe, text};
use crate::cli::PutArgs;
use crate::client::{Client, Error, Image, UploadSpec, Uploaded};
use crate::image::id::ImageId;

pub(super) async fn run(args: PutArgs) -> Result<(), Failure> {
    check_usage(&args)?;
    let client = connect(&args.client)?;
    let labels: BTreeMap<String, String> = args.labels.into_iter().collect();
    let mut outcome = Outcome::default();
    let mut files = Vec::new();
    for path in args.files {
        outcome.failed |= !collect(path, args.recursive, &mut files);
    }
    let mut uploads = Vec::new();
    let mut taken: BTreeMap<String, &Path> = BTreeMap::new();
    for path in &files {
        let file_name = display_name(path);
        let id = args.name.clone().unwrap_or_else(|| from_file_name(&file_name));
        if let Some(other) = taken.insert(id.clone(), path) {
            outcome.fail(path, format!("its id would be {id}, as that of {}: put it with --name", other.display()));
            taken.insert(id, other);
            continue;
        }
        let spec = UploadSpec {
            image_id: id,
            image: Some(Image {
                display_name: if is_stdin(path) { String::new() } else { file_name },
                labels: labels.clone(),
                ..Image::default()
            }),
            allow_replace: args.replace,
            ..UploadSpec::default()
        };
        uploads.push((path, spec));
    }
    let (client, bars) = (&client, &Bars::default());
    // Once no server can be reached, none is tried for the rest, and it is told once.
    let gone = Cell::new(false);
    let uploads = stream::iter(uploads)
        .take_while(|_| ready(!gone.get()))
        .map(async |(path, spec)| (path, put(client, path, spec, bars).await))
        .buffered(args.jobs.into());
    let mut uploads = pin!(uploads);
    while let Some((path, uploaded)) = uploads.next().await {
        bars.above(|| match uploaded {
            Ok(Uploaded { image: Some(image), created }) => outcome.stored(image, created, args.json),
            Ok(Uploaded { image: None, .. }) => {
                outcome.fail(path, "the server answered without an image".to_owned());
                Ok(())
            }
            Err(error) => {
                if !(error.is_unreachable() && gone.replace(true)) {
                    outcome.fail(path, explain(&error));
                }
                Ok(())
            }
        })?;
    }
    if args.json {
        print_json(&outcome.images)?;
    }
    if outcome.failed { Err(Failure::Told) } else { Ok(()) }
}

/// What has come of the files so far.
#[derive(Default)]
struct Outcome {
    images: Vec<Image>,
    failed: bool,
}

impl Outcome {
    fn fail(&mut self, path: &Path, why: String) {
        complain(path.display(), why);
        self.failed = true;
    }

    fn stored(&mut self, image: Image, created: bool, json: bool) -> Result<(), Failure> {
        if json {
            self.images.push(image);
            return Ok(());
        }
        let (size, pixels) = (text::size(image.size_bytes), text::pixels(&image));
        let verb = if created { "created" } else { "replaced" };
        let line = format!("{verb} {}  {}  {pixels}  {size}", image.name, image.media_type);
        print(|out| writeln!(out, "{}", safe(&line)))
    }
}

async fn put(client: &Client, path: &Path, spec: UploadSpec, bars: &Bars) -> Result<Uploaded, Error> {
    let bar = bars.add(&spec.image_id);
    let uploaded = if is_stdin(path) {
        client.upload(spec, tokio::io::stdin(), bar.clone()).await
    } else {
        client.upload_file(spec, path, bar.clone()).await
    };
    bar.clear();
    uploaded
}

fn check_usage(args: &PutArgs) -> Result<(), Failure> {
    let usage = |message: &str| Err(Failure::Usage(message.to_owned()));
    if let Some(name) = &args.name {
        if name.parse::<ImageId>().is_err() {
            super::image_id(name)?;
            return Err(Failure::Usage(format!("--name: `{name}` is a name, not an id: leave out `images/`")));
        }
        if args.files.len() > 1 || args.recursive {
            return usage("--name names one image: put one file with it, without -r");
        }
    }
    match args.files.iter().filter(|path| is_stdin(path)).count() {
        0 => Ok(()),
        1 if args.name.is_some() => Ok(()),
        1 => {
            usage("`-` has no file name to make an id from: give one with --name (for a file of that name, write ./-)")
        }
        _ => usage("stdin can be read once: give `-` only once"),
    }
}

fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

/// Adds the files that `path` stands for, in order; tells what it cannot read and says whether all went well.
fn collect(path: PathBuf, recursive: bool, files: &mut Vec<PathBuf>) -> bool {
    if is_stdin(&path) || !path.is_dir() {
        files.push(path);
        return true;
    }
    if !recursive {
        complain(path.display(), "it is a folder: put what is in it with -r");
        return false;
    }
    walk(&path, files)
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> bool {
    let entries = match fs::read_dir(folder).and_then(|entries| entries.collect::<Result<Vec<_>, _>>()) {
        Ok(entries) => entries,
        Err(error) => {
            complain(folder.display(), format!("cannot be read: {error}"));
            return false;
        }
    };
    let mut entries: Vec<PathBuf> = entries
        .iter()
        .filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."))
        .map(fs::DirEntry::path)
        .collect();
    entries.sort();
    let mut well = true;
    for path in entries {
        // A link to a folder may lead back up.
        if path.is_dir() {
            if !path.is_symlink() {
                well &= walk(&path, files);
            }
        } else if path.is_file() || path.is_symlink() {
            files.push(path);
        }
    }
    well
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_takes_files_in_order_and_leaves_hidden_ones_and_loops() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir_all(path("b/c")).unwrap();
        fs::create_dir(path(".git")).unwrap();
        for name in ["z.jpg", "b/c/1.jpg", "a.jpg", ".DS_Store", ".git/x"] {
            fs::write(path(name), name).unwrap();
        }
        std::os::unix::fs::symlink(folder.path(), path("b/up")).unwrap();
        std::os::unix::fs::symlink(path("z.jpg"), path("link.jpg")).unwrap();
        let mut files = Vec::new();
        assert!(collect(folder.path().to_owned(), true, &mut files));
        assert_eq!(files, ["a.jpg", "b/c/1.jpg", "link.jpg", "z.jpg"].map(path));
        files.clear();
        assert!(!collect(folder.path().to_owned(), false, &mut files));
        assert!(files.is_empty());
    }
}
