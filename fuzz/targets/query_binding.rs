//! Queries: none panics, and what one binds is a message, or an error that names the field.

#![no_main]

use libfuzzer_sys::fuzz_target;
use prost::Message as _;
use serde_json::{Map, Value};
use wirephoto::proto::wirephoto::v1::{ListImagesRequest, UpdateImageRequest, table};
use wirephoto::wire::http_rule::bind_query;
use wirephoto::wire::json;

fuzz_target!(|query: &str| {
    for schema in [&table::UPDATE_IMAGE_REQUEST, &table::LIST_IMAGES_REQUEST] {
        let mut request = Map::new();
        if bind_query(&mut request, schema, query, |field| field == "image.name").is_err() {
            continue;
        }
        if let Some(image) = request.get("image") {
            assert!(image.get("name").is_none(), "the path alone gives that");
        }
        let Ok(message) = json::read(&Value::Object(request), schema) else { continue };
        match schema.fields[0].name {
            "image" => drop(UpdateImageRequest::decode(&message[..]).expect("a message of its type")),
            _ => drop(ListImagesRequest::decode(&message[..]).expect("a message of its type")),
        }
    }
});
