//! JSON bodies: none panics or exhausts the stack, and what is read is a message that is written as JSON of the same.
//!
//! `google.rpc.Status` brings `Any`, and so every message that is known.

#![no_main]

use libfuzzer_sys::fuzz_target;
use prost::Message as _;
use wirephoto::proto::google::rpc;
use wirephoto::proto::wirephoto::v1 as pb;
use wirephoto::wire::json;

fuzz_target!(|text: &[u8]| {
    let Ok(value) = json::parse(text, "") else { return };
    for schema in [&rpc::table::STATUS, &pb::table::UPLOAD_IMAGE_REQUEST, &pb::table::UPDATE_IMAGE_REQUEST] {
        let Ok(message) = json::read(&value, schema) else { continue };
        match schema.name {
            "google.rpc.Status" => drop(rpc::Status::decode(&message[..]).expect("a message of its type")),
            "wirephoto.v1.UploadImageRequest" => {
                drop(pb::UploadImageRequest::decode(&message[..]).expect("a message of its type"));
            }
            _ => drop(pb::UpdateImageRequest::decode(&message[..]).expect("a message of its type")),
        }
        // Written and read again it is the same, as often as one likes.
        let Ok(written) = json::write(&message, schema) else { continue };
        let parsed = json::parse(&written, "").expect("what was written is JSON");
        let again = json::read(&parsed, schema).expect("what was written is of the same type");
        assert_eq!(json::write(&again, schema).as_deref(), Ok(&written[..]));
    }
});
