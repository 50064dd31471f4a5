//! What `build.rs` made of the protos, and nothing else.

#![allow(missing_docs, rustdoc::all, clippy::all, clippy::unwrap_used, unreachable_pub)]

/// Packages `wirephoto.*`.
pub mod wirephoto {
    /// Package `wirephoto.v1`.
    pub mod v1 {
        include!(concat!(env!("OUT_DIR"), "/wirephoto.v1.rs"));
        include!(concat!(env!("OUT_DIR"), "/wirephoto.v1.serde.rs"));
        /// Messages and methods as tables.
        pub mod table {
            include!(concat!(env!("OUT_DIR"), "/wirephoto.v1.table.rs"));
        }
    }
}

/// Packages `google.*`.
pub mod google {
    /// Package `google.protobuf`, whose Rust types are `crate::well_known` and `pbjson_types`.
    pub mod protobuf {
        /// Messages as tables.
        pub mod table {
            include!(concat!(env!("OUT_DIR"), "/google.protobuf.table.rs"));
        }
    }
    /// Package `google.rpc`.
    pub mod rpc {
        include!(concat!(env!("OUT_DIR"), "/google.rpc.rs"));
        include!(concat!(env!("OUT_DIR"), "/google.rpc.serde.rs"));
        /// Messages as tables.
        pub mod table {
            include!(concat!(env!("OUT_DIR"), "/google.rpc.table.rs"));
        }
    }
}

/// The serialised `FileDescriptorSet` of every file above.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
