//! skeleton
pub mod error;
pub mod proto;
pub mod well_known;
pub mod wire;
