pub mod method;
