//! `wirephoto show NAME`: everything that is known of one image.

use std::io::{self, Write};

use super::{Failure, connect, image_id, print, print_json, safe, text};
use crate::cli::ShowArgs;
use crate::client::Image;

pub(super) async fn run(args: ShowArgs) -> Result<(), Failure> {
    let id = image_id(&args.name)?;
    let image = connect(&args.client)?.get(&id.name()).await?;
    if args.json { print_json(&image) } else { print(|out| write(out, &image)) }
}

fn write(out: &mut dyn Write, image: &Image) -> io::Result<()> {
    let alpha = if image.has_alpha { ", can be transparent" } else { "" };
    let frames = match image.frame_count {
        0 | 1 => String::new(),
        frames => format!(", {frames} frames"),
    };
    let lines = [
        ("name", image.name.clone()),
        ("display name", image.display_name.clone()),
        ("type", image.media_type.clone()),
        ("pixels", format!("{}{frames}{alpha}", text::pixels(image))),
        ("orientation", image.orientation.to_string()),
        ("size", format!("{} ({} bytes)", text::size(image.size_bytes), image.size_bytes)),
        ("sha256", image.sha256.clone()),
        ("crc32c", format!("{:08x}", image.crc32c)),
        ("created", text::time(image.create_time.as_ref())),
        ("updated", text::time(image.update_time.as_ref())),
        ("generation", image.generation.to_string()),
        ("etag", image.etag.clone()),
    ];
    for (key, value) in lines.iter().filter(|(_, value)| !value.is_empty()) {
        writeln!(out, "{key:<13} {}", safe(value))?;
    }
    for (key, value) in &image.labels {
        writeln!(out, "{:<13} {}={}", "label", safe(key), safe(value))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_cannot_forge_a_line() {
        let image = Image {
            name: "images/a".into(),
            display_name: "x\nsha256        0000\x1b[2J".into(),
            labels: [("team".to_owned(), "a\rb".to_owned())].into(),
            ..Image::default()
        };
        let mut out = Vec::new();
        write(&mut out, &image).unwrap();
        let out = String::from_utf8(out).unwrap();
        assert!(out.contains("display name  x\\nsha256        0000\\u{1b}[2J\n"), "{out}");
        assert!(out.contains("label         team=a\\rb\n"), "{out}");
    }
}
