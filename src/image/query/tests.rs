//! Filters, orders and tokens; and that paging sees each image once.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::DateTime;
use proptest::prelude::*;

use super::{Filter, Key, Order, OrderBy, Query};
use crate::error::{Detail, Error, Reason};
use crate::image::manifest::{Description, FORMAT_VERSION, Manifest};
use crate::image::probe::Format;

fn image(id: &str, size: u64) -> Manifest {
    let time = DateTime::from_timestamp(1_700_000_000, 123_456_789).unwrap();
    Manifest {
        format_version: FORMAT_VERSION,
        id: id.parse().unwrap(),
        blob: "0".to_owned(),
        size,
        format: Format::Jpeg,
        width: 600,
        height: 400,
        orientation: 1,
        frame_count: 1,
        has_alpha: false,
        sha256: String::new(),
        crc32c: 0,
        create_time: time,
        update_time: time,
        content_time: time,
        generation: 1,
        revision: 0,
        display_name: "A \"cat\" \\ a dog".to_owned(),
        labels: [("team".to_owned(), "press desk".to_owned()), ("a.b-c".to_owned(), "1".to_owned())].into(),
        request: None,
        description: Description::default(),
    }
}

fn field(error: &Error) -> &str {
    match error.details.as_slice() {
        [Detail::BadRequest(violations)] => &violations[0].0,
        other => panic!("{other:?}"),
    }
}

#[test]
fn filters_let_through_what_they_say() {
    let image = image("cat.jpg", 1000);
    let holds = [
        "",
        "  ",
        "name = \"images/cat.jpg\"",
        "name=images/cat.jpg",
        "name != images/dog.jpg",
        "name : cat",
        "media_type = image/jpeg",
        "media_type = IMAGE/JPEG",
        "media_type : \"jp\"",
        r#"display_name = "A \"cat\" \\ a dog""#,
        "labels.team = \"press desk\" AND labels.a.b-c = 1",
        "labels.team:desk",
        "labels.team:\"\"",
        "labels.none != x",
        "size_bytes = 1000 AND size_bytes >= 1000 AND size_bytes <= 1000 AND size_bytes < 1001 AND size_bytes > 999",
        "width > 599   AND\theight != 401",
        "create_time = 2023-11-14T22:13:20.123456789Z",
        "create_time = \"2023-11-14T23:13:20.123456789+01:00\"",
        "update_time > 2023-11-14T22:13:20Z AND update_time < 2023-11-14T22:13:21Z",
    ];
    for filter in holds {
        assert!(Filter::parse(filter).unwrap().matches(&image), "{filter}");
    }
    let fails = [
        "name = images/cat",
        "name != images/cat.jpg",
        "media_type = image/png",
        "display_name : Cat",
        "labels.none : \"\"",
        "labels.team != \"press desk\"",
        "labels.none = \"\"",
        "size_bytes != 1000",
        "size_bytes > 1000",
        "width > 100 AND height > 400",
        "create_time = 2023-11-14T22:13:20Z",
        "update_time >= 2023-11-14T22:13:21Z",
    ];
    for filter in fails {
        assert!(!Filter::parse(filter).unwrap().matches(&image), "{filter}");
    }
}

#[test]
fn filters_that_cannot_be_read_say_where_and_what_to_write() {
    let cases = [
        ("colour = red", "character 1: there is no field `colour`: the fields are name"),
        ("labels. = x", "no field `labels.`"),
        ("width", "character 6: a condition is FIELD OPERATOR VALUE"),
        ("width = ", "character 9: the value is missing"),
        ("= 5", "character 1: a condition is"),
        ("width = five", "character 9: width is a whole number"),
        ("width = -5", "whole number"),
        ("width : 5", "character 7: `:` does not fit width"),
        ("width == 5", "`==` does not fit"),
        ("name < images/a", "`<` does not fit name"),
        ("name = cat", "character 8: a name is images/ID"),
        ("create_time > yesterday", "RFC 3339"),
        ("display_name = \"cat", "quotes are not closed"),
        ("display_name = \"cat\\\"", "quotes are not closed"),
        ("width = 5 OR width = 6", "character 11: `OR` is in the place of AND"),
        ("width = 5 and width = 6", "AND in capitals"),
        ("display_name = a cat", "double quotes"),
        ("media_type = 'image/png'", "write \"…\" around it"),
        ("width = 5 AND", "character 14: a condition is"),
        ("(width = 5)", "character 1: a condition is"),
        ("labels.é = 5", "a condition is"),
        ("display_name = é AND widht = 5", "character 22: there is no field `widht`"),
    ];
    for (filter, words) in cases {
        let error = Query::parse(0, "", filter, "").unwrap_err();
        assert_eq!((error.reason, field(&error)), (Reason::InvalidRequest, "filter"), "{filter}");
        assert!(error.message.contains(words), "{filter}: {error}");
    }
    let many = |count| vec!["width > 1"; count].join(" AND ");
    assert!(Filter::parse(&many(32)).is_ok());
    assert!(Filter::parse(&many(33)).unwrap_err().message.contains("32 conditions"));
    assert!(Filter::parse(&" ".repeat(2049)).unwrap_err().message.contains("2048 characters"));
}

#[test]
fn page_sizes_and_orders_are_held_to_their_rules() {
    let size = |size| Query::parse(size, "", "", "").map(|query| query.page_size);
    assert_eq!((size(0).unwrap(), size(1).unwrap(), size(i32::MAX).unwrap()), (50, 1, 1000));
    assert_eq!(field(&size(-1).unwrap_err()), "page_size");
    assert_eq!(Order::parse(" size_bytes   desc ").unwrap(), Order { by: OrderBy::Size, descending: true });
    assert_eq!(Order::parse("").unwrap(), Order { by: OrderBy::Name, descending: false });
    for bad in ["size", "name asc", "name, size_bytes", "name desc desc", "NAME", "-name"] {
        let error = Query::parse(0, "", "", bad).unwrap_err();
        assert_eq!(field(&error), "order_by");
        assert!(error.message.contains("create_time"), "{error}");
    }
}

#[test]
fn a_token_is_good_for_its_own_listing_only() {
    let query = Query::parse(1, "", "width > 5", "size_bytes desc").unwrap();
    let last = image("cat.jpg", 7);
    let token = query.next_token(&last);
    assert!(token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)), "{token}");
    let next = Query::parse(9, &token, " width > 5 ", "size_bytes  desc").unwrap();
    assert_eq!(next.after, Some(query.sort_key(&last)));
    assert!(!next.is_ahead(&last) && next.is_ahead(&image("cat.jpg", 6)) && !next.is_ahead(&image("dog.jpg", 7)));
    let others =
        [("width > 6", "size_bytes desc"), ("width > 5", "size_bytes"), ("", ""), ("width > 5", "create_time desc")];
    for (filter, order) in others {
        let error = Query::parse(1, &token, filter, order).unwrap_err();
        assert_eq!(field(&error), "page_token");
        assert!(error.message.contains("with the filter and order_by"), "{error}");
    }
    for garbage in ["x", "!!", &token[..token.len() - 4], &"A".repeat(5000), "e30", "bnVsbA"] {
        let error = Query::parse(1, garbage, "width > 5", "size_bytes desc").unwrap_err();
        assert_eq!(field(&error), "page_token", "{garbage}");
    }
}

fn orders() -> impl Strategy<Value = String> {
    (prop::sample::select(OrderBy::ALL.to_vec()), prop::sample::select(vec!["", " desc"]))
        .prop_map(|(by, direction)| format!("{}{direction}", by.field()))
}

proptest! {
    #[test]
    fn parsing_never_panics(size in any::<i32>(), token in ".{0,80}", filter in ".{0,200}", order in ".{0,40}") {
        let _ = Query::parse(size, &token, &filter, &order);
        let _ = Query::parse(1, "", &filter, "");
    }

    #[test]
    fn parsing_what_looks_like_a_filter_never_panics(
        filter in concat!(
            r"((name|width|labels\.é?a|create_time) ?(=|!=|<=?|:) ?",
            r#"("[a\\" é]{0,6}"?|[0-9]{0,22}|images/a) ?(AND|OR|and)? ?){0,5}"#,
        )
    ) {
        let _ = Filter::parse(&filter);
    }

    #[test]
    fn quoted_values_come_through_as_they_are(value in "[^\0]{0,60}") {
        let quoted = value.replace('\\', r"\\").replace('"', r#"\""#);
        let filter = Filter::parse(&format!("display_name = \"{quoted}\" AND width = 600")).unwrap();
        let mut image = image("a", 1);
        image.display_name = value;
        prop_assert!(filter.matches(&image));
        image.display_name.push('x');
        prop_assert!(!filter.matches(&image));
    }

    /// Images come and go between two pages; each that stays is seen exactly once, in order.
    #[test]
    fn paging_sees_each_image_that_stays_once(
        images in prop::collection::btree_map("[a-d]{1,3}", (0_u64..4, 0_i64..3, 0_i64..3), 0..60),
        fleeting in prop::collection::btree_map("[a-e]{1,3}", 0_u64..4, 0..40),
        order in orders(),
        page_size in 1..20_i32,
        filter in prop::sample::select(vec!["", "size_bytes > 1"]),
    ) {
        let stays: Vec<Arc<Manifest>> = images.iter().map(|(id, (size, create, update))| {
            let mut image = image(id, *size);
            image.create_time += chrono::Duration::nanoseconds(*create);
            image.update_time += chrono::Duration::nanoseconds(*update);
            Arc::new(image)
        }).collect();
        let fleeting: Vec<_> = fleeting
            .iter()
            .filter(|(id, _)| !images.contains_key(*id))
            .map(|(id, size)| Arc::new(image(id, *size)))
            .collect();
        let (mut token, mut seen, mut keys) = (String::new(), Vec::new(), Vec::<Key>::new());
        for round in 0.. {
            let query = Query::parse(page_size, &token, filter, &order).unwrap();
            let passing = fleeting.iter().skip(round % 3).step_by(2);
            let page = query.page(stays.iter().chain(passing));
            prop_assert!(page.images.len() <= query.page_size);
            prop_assert_eq!(page.next_page_token.is_empty() || page.images.len() == query.page_size, true);
            keys.extend(page.images.iter().map(|image| query.sort_key(image)));
            seen.extend(page.images.iter().map(|image| image.id.to_string()).filter(|id| images.contains_key(id)));
            token = page.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        prop_assert!(keys.is_sorted_by(|a, b| a < b), "out of order: {:?}", keys);
        let wanted = |(size, _, _): &(u64, i64, i64)| filter.is_empty() || *size > 1;
        let expected = images.iter().filter(|(_, it)| wanted(it)).map(|(id, _)| id.clone()).collect::<BTreeSet<_>>();
        prop_assert_eq!(seen.len(), expected.len());
        prop_assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), expected);
    }
}
