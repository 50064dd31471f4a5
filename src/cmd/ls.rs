//! `wirephoto ls`: a table for people, a JSON array for programs; each page is printed as it comes.

use std::io::{self, Write};

use futures::{StreamExt as _, TryStreamExt as _};

use super::{Failure, connect, print, safe, text};
use crate::cli::LsArgs;
use crate::client::{Image, Selection};

/// Images printed at once: columns are as wide as the widest so far.
const BATCH: usize = 200;

pub(super) async fn run(args: LsArgs) -> Result<(), Failure> {
    let client = connect(&args.client)?;
    let images = client.list(Selection { filter: args.filter, order_by: args.order_by });
    let mut batches = Box::pin(images.try_chunks(BATCH));
    let mut output: Box<dyn Output> = if args.json { Box::<Json>::default() } else { Box::<Table>::default() };
    while let Some(batch) = batches.next().await {
        let (images, error) = match batch {
            Ok(images) => (images, None),
            Err(cut) => (cut.0, Some(cut.1)),
        };
        print(|out| output.batch(out, &images))?;
        if let Some(error) = error {
            return Err(error.into());
        }
    }
    print(|out| output.end(out))
}

trait Output: Send {
    fn batch(&mut self, out: &mut dyn Write, images: &[Image]) -> io::Result<()>;
    fn end(&mut self, out: &mut dyn Write) -> io::Result<()>;
}

/// One image a line, in an array that is closed only when it is whole.
#[derive(Default)]
struct Json {
    begun: bool,
}

impl Output for Json {
    fn batch(&mut self, out: &mut dyn Write, images: &[Image]) -> io::Result<()> {
        for image in images {
            out.write_all(if self.begun { b",\n" } else { b"[\n" })?;
            self.begun = true;
            serde_json::to_writer(&mut *out, image)?;
        }
        Ok(())
    }

    fn end(&mut self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(if self.begun { b"\n]\n" } else { b"[]\n" })
    }
}

#[derive(Default)]
struct Table {
    widths: [usize; 4],
}

impl Output for Table {
    fn batch(&mut self, out: &mut dyn Write, images: &[Image]) -> io::Result<()> {
        let mut rows = Vec::with_capacity(images.len() + 1);
        if self.widths == [0; 4] && !images.is_empty() {
            rows.push(["NAME", "TYPE", "SIZE", "PIXELS", "UPDATED"].map(str::to_owned));
        }
        rows.extend(images.iter().map(row));
        for row in &rows {
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let [name_width, type_width, size_width, pixels_width] = self.widths;
        for [name, media_type, size, pixels, updated] in rows {
            write!(out, "{name:<name_width$}  {media_type:<type_width$}  {size:>size_width$}  ")?;
            writeln!(out, "{pixels:>pixels_width$}  {updated}")?;
        }
        Ok(())
    }

    fn end(&mut self, _: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
}

fn row(image: &Image) -> [String; 5] {
    [
        safe(image.name.strip_prefix("images/").unwrap_or(&image.name)).into_owned(),
        safe(&image.media_type).into_owned(),
        text::size(image.size_bytes),
        text::pixels(image),
        text::time(image.update_time.as_ref()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(name: &str) -> Image {
        Image {
            name: format!("images/{name}"),
            media_type: "image/png".into(),
            width: 3,
            height: 2,
            ..Image::default()
        }
    }

    fn written(mut output: impl Output, batches: &[&[Image]]) -> String {
        let mut out = Vec::new();
        for batch in batches {
            output.batch(&mut out, batch).unwrap();
        }
        output.end(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn json_is_one_array_whatever_the_batches() {
        for batches in [&[][..], &[&[image("a")][..], &[image("b"), image("c")]]] {
            let parsed: Vec<Image> = serde_json::from_str(&written(Json::default(), batches)).unwrap();
            assert_eq!(parsed, batches.concat());
        }
    }

    #[test]
    fn the_table_has_a_header_once_and_nothing_that_steers() {
        assert_eq!(written(Table::default(), &[]), "");
        let table = written(Table::default(), &[&[image("a"), image("longer")], &[image("b\x1b")]]);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines[0], "NAME    TYPE       SIZE  PIXELS  UPDATED");
        assert_eq!(lines[1], "a       image/png   0 B     3x2  -");
        assert!(lines.len() == 4 && lines[3].starts_with("b\\u{1b}  image/png"), "{table}");
    }
}
