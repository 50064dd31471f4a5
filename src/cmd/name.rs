//! An id made from a file's name.

use std::path::Path;

/// Longest ending that is kept when a name is cut.
const MAX_ENDING: usize = 16;

/// `My Photo (2).jpg` as `my-photo-2.jpg`: lower case, with runs of what no id can hold as one `-`.
///
/// A name of which nothing would be left, such as `写真.jpg`, becomes `image-` with a digest of it, so that the same
/// file gets the same id again.
pub(super) fn from_file_name(name: &str) -> String {
    let (stem, ending) = match name.rsplit_once('.') {
        Some((stem, ending)) if !stem.is_empty() => (stem, slug(ending)),
        _ => (name, String::new()),
    };
    let mut id = slug(stem);
    if id.is_empty() {
        id = format!("image-{:08x}", crc32c::crc32c(name.as_bytes()));
    }
    let ending: String = ending.chars().take(MAX_ENDING).collect();
    id.truncate(crate::image::id::MAX_LEN - MAX_ENDING - 1);
    let kept = id.trim_end_matches(separates).len();
    id.truncate(kept);
    if !ending.is_empty() {
        id.push('.');
        id.push_str(&ending);
    }
    id
}

/// The file's own name, for people.
pub(super) fn display_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// ASCII letters and digits joined by single `-`, `.` or runs of `_`, beginning and ending with a letter or digit.
fn slug(text: &str) -> String {
    let mut slug = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            'a'..='z' | '0'..='9' => slug.push(c),
            'A'..='Z' => slug.push(c.to_ascii_lowercase()),
            '_' => slug.push(c),
            '.' => {
                let kept = slug.trim_end_matches(['-', '.']).len();
                slug.truncate(kept);
                slug.push('.');
            }
            _ if slug.ends_with(['-', '.']) => {}
            _ => slug.push('-'),
        }
    }
    slug.trim_matches(separates).to_owned()
}

fn separates(c: char) -> bool {
    matches!(c, '-' | '.' | '_')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::from_file_name;
    use crate::image::id::ImageId;

    #[test]
    fn names_become_ids() {
        for (name, id) in [
            ("cat.jpg", "cat.jpg"),
            ("My Photo (2).jpg", "my-photo-2.jpg"),
            ("IMG_0042.JPG", "img_0042.jpg"),
            ("a..b.png", "a.b.png"),
            ("a - b.png", "a-b.png"),
            ("a. b .png", "a.b.png"),
            (".hidden.jpg", "hidden.jpg"),
            (".jpg", "jpg"),
            ("-rf.gif", "rf.gif"),
            ("no ending", "no-ending"),
            ("trailing.", "trailing"),
            ("__x__.webp", "x.webp"),
            ("Größe.png", "gr-e.png"),
            ("写真.jpg", "image-ef5873d6.jpg"),
            ("写真2.jpg", "2.jpg"),
            ("...", "image-6f55d0cd"),
            ("a/b\\c.png", "a-b-c.png"),
            ("a\0b\n.png", "a-b.png"),
        ] {
            assert_eq!(from_file_name(name), id, "{name:?}");
        }
        let long = from_file_name(&format!("{}.{}", "x".repeat(300), "y".repeat(300)));
        assert_eq!(long, format!("{}.{}", "x".repeat(111), "y".repeat(16)));
    }

    proptest! {
        #[test]
        fn every_name_becomes_an_id(name in ".*") {
            let id = from_file_name(&name);
            prop_assert!(id.parse::<ImageId>().is_ok(), "{name:?} became {id:?}");
            prop_assert_eq!(from_file_name(&id), id.clone());
        }

        #[test]
        fn names_full_of_separators_become_ids(name in "[aB0._ -]{0,200}") {
            let id = from_file_name(&name);
            prop_assert!(id.parse::<ImageId>().is_ok(), "{name:?} became {id:?}");
        }
    }
}
