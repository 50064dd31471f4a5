//! Makes the Rust of every proto: prost types, tonic services, proto3 JSON, descriptors and the method table.
//!
//! `proto/` is the product's; `tests/proto/` holds services that exist to prove the wires generic. Neither needs protoc.

use std::error::Error;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::{env, fs};

use heck::ToShoutySnakeCase as _;
use heck::ToSnakeCase as _;
use heck::ToUpperCamelCase as _;
use prost_reflect::{Cardinality, DescriptorPool, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor, Value};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let out = PathBuf::from(env::var("OUT_DIR")?);
    Target {
        files: &["proto/wirephoto/v1/image_service.proto", "proto/google/rpc/error_details.proto"],
        includes: &["proto"],
        packages: &["wirephoto.v1", "google.rpc"],
        krate: "crate",
        out: out.clone(),
    }
    .generate()?;
    Target {
        files: &[
            "tests/proto/library/v1/library.proto",
            "tests/proto/connectrpc/conformance/v1/service.proto",
            "tests/proto/connectrpc/conformance/v1/server_compat.proto",
        ],
        includes: &["tests/proto", "proto"],
        packages: &["library.v1", "connectrpc.conformance.v1"],
        krate: "::wirephoto",
        out: out.join("tests"),
    }
    .generate()?;
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rerun-if-changed=tests/proto");
    Ok(())
}

/// One set of protos and where its Rust goes.
struct Target {
    files: &'static [&'static str],
    includes: &'static [&'static str],
    /// Packages to generate; what else is imported comes from `krate`.
    packages: &'static [&'static str],
    /// How the generated code names this crate.
    krate: &'static str,
    out: PathBuf,
}

impl Target {
    fn generate(&self) -> Result<()> {
        fs::create_dir_all(&self.out)?;
        let mut compiler = protox::Compiler::new(self.includes)?;
        compiler.include_source_info(true).include_imports(true).open_files(self.files)?;
        let encoded = compiler.encode_file_descriptor_set();
        fs::write(self.out.join("descriptors.bin"), &encoded)?;

        self.prost(compiler.file_descriptor_set())?;
        self.json(&encoded)?;
        let pool = DescriptorPool::decode(encoded.as_slice())?;
        for package in self.packages {
            let source = Table { target: self, pool: &pool }.package(package)?;
            fs::write(self.out.join(format!("{package}.table.rs")), source)?;
        }
        Ok(())
    }

    /// Rust paths of types that are not generated here.
    fn extern_paths(&self) -> Vec<(String, String)> {
        let mut paths = Vec::new();
        for name in ["Any", "FieldMask", "Timestamp"] {
            paths.push((format!(".google.protobuf.{name}"), format!("{}::well_known::{name}", self.krate)));
        }
        for name in [
            "Duration",
            "Empty",
            "Struct",
            "Value",
            "ListValue",
            "BoolValue",
            "BytesValue",
            "DoubleValue",
            "FloatValue",
            "Int32Value",
            "Int64Value",
            "StringValue",
            "UInt32Value",
            "UInt64Value",
        ] {
            paths.push((format!(".google.protobuf.{name}"), format!("::pbjson_types::{name}")));
        }
        if !self.packages.contains(&"google.rpc") {
            paths.push((".google.rpc".into(), format!("{}::proto::google::rpc", self.krate)));
        }
        paths
    }

    fn prost(&self, descriptors: prost_types::FileDescriptorSet) -> Result<()> {
        let mut builder = tonic_prost_build::configure()
            .out_dir(&self.out)
            .bytes(".")
            .btree_map(".")
            .compile_well_known_types(true)
            .emit_rerun_if_changed(false);
        for (proto, rust) in self.extern_paths() {
            builder = builder.extern_path(proto, rust);
        }
        Ok(builder.compile_fds(descriptors)?)
    }

    fn json(&self, descriptors: &[u8]) -> Result<()> {
        let mut builder = pbjson_build::Builder::new();
        builder.register_descriptors(descriptors)?.out_dir(&self.out).btree_map(["."]);
        for (proto, rust) in self.extern_paths() {
            builder.extern_path(proto, rust);
        }
        let prefixes: Vec<String> = self.packages.iter().map(|package| format!(".{package}")).collect();
        Ok(builder.build(&prefixes)?)
    }
}

/// Writes the static tables that `wire::method` describes.
struct Table<'a> {
    target: &'a Target,
    pool: &'a DescriptorPool,
}

impl Table<'_> {
    fn package(&self, package: &str) -> Result<String> {
        let mut source = format!("use {}::wire::method as m;\n\n", self.target.krate);
        let messages: Vec<_> = self
            .pool
            .all_messages()
            .filter(|message| message.package_name() == package && !message.is_map_entry())
            .collect();
        for message in &messages {
            self.message(&mut source, message)?;
        }
        writeln!(source, "/// Every message of `{package}`.")?;
        writeln!(source, "pub static MESSAGES: &[&m::Message] = &[")?;
        for message in &messages {
            writeln!(source, "    &{},", static_name(message))?;
        }
        writeln!(source, "];\n")?;
        for service in self.pool.services().filter(|service| service.package_name() == package) {
            writeln!(source, "/// The methods of `{}`.", service.full_name())?;
            writeln!(source, "pub static {}: &[m::Method] = &[", service.name().to_shouty_snake_case())?;
            for method in service.methods() {
                self.method(&mut source, &method)?;
            }
            writeln!(source, "];")?;
        }
        Ok(source)
    }

    fn message(&self, source: &mut String, message: &MessageDescriptor) -> Result<()> {
        let rust_type = rust_type(message);
        writeln!(source, "/// `{}`.", message.full_name())?;
        writeln!(source, "pub static {}: m::Message = m::Message {{", static_name(message))?;
        writeln!(source, "    name: {:?},", message.full_name())?;
        writeln!(source, "    from_json: m::from_json::<{rust_type}>,")?;
        writeln!(source, "    to_json: m::to_json::<{rust_type}>,")?;
        writeln!(source, "    fields: &[")?;
        for field in message.fields() {
            writeln!(
                source,
                "        m::Field {{ name: {:?}, json_name: {:?}, cardinality: m::Cardinality::{}, kind: {} }},",
                field.name(),
                field.json_name(),
                cardinality(&field),
                self.kind(&field),
            )?;
        }
        writeln!(source, "    ],\n}};\n")?;
        Ok(())
    }

    fn kind(&self, field: &FieldDescriptor) -> String {
        match field.kind() {
            Kind::Bool => "m::FieldKind::Bool".into(),
            Kind::String => "m::FieldKind::String".into(),
            Kind::Bytes => "m::FieldKind::Bytes".into(),
            Kind::Enum(_) => "m::FieldKind::Enum".into(),
            Kind::Message(message) => match message.full_name() {
                "google.protobuf.BoolValue" => "m::FieldKind::Bool".into(),
                "google.protobuf.BytesValue" => "m::FieldKind::Bytes".into(),
                "google.protobuf.Timestamp"
                | "google.protobuf.Duration"
                | "google.protobuf.FieldMask"
                | "google.protobuf.StringValue" => "m::FieldKind::String".into(),
                "google.protobuf.Struct"
                | "google.protobuf.Value"
                | "google.protobuf.ListValue"
                | "google.protobuf.Empty"
                | "google.protobuf.Any" => "m::FieldKind::Opaque".into(),
                name if name.starts_with("google.protobuf.") => "m::FieldKind::Number".into(),
                _ if message.is_map_entry() => "m::FieldKind::Opaque".into(),
                _ => {
                    format!(
                        "m::FieldKind::Message(&{})",
                        self.static_path(field.parent_message().package_name(), &message)
                    )
                }
            },
            _ => "m::FieldKind::Number".into(),
        }
    }

    fn method(&self, source: &mut String, method: &MethodDescriptor) -> Result<()> {
        let kind = match (method.is_client_streaming(), method.is_server_streaming()) {
            (false, false) => "Unary",
            (true, false) => "ClientStream",
            (false, true) => "ServerStream",
            (true, true) => "Bidi",
        };
        let options = method.options();
        let no_side_effects =
            options.get_field_by_name("idempotency_level").is_some_and(|level| level.as_enum_number() == Some(1));
        let service = method.parent_service();
        writeln!(source, "    m::Method {{")?;
        writeln!(source, "        service: {:?},", service.full_name())?;
        writeln!(source, "        name: {:?},", method.name())?;
        writeln!(source, "        path: \"/{}/{}\",", service.full_name(), method.name())?;
        writeln!(source, "        kind: m::Kind::{kind},")?;
        writeln!(source, "        no_side_effects: {no_side_effects},")?;
        writeln!(source, "        input: &{},", self.static_path(service.package_name(), &method.input()))?;
        writeln!(source, "        output: &{},", self.static_path(service.package_name(), &method.output()))?;
        writeln!(source, "        http: &[")?;
        if let Some(extension) = self.pool.get_extension_by_name("google.api.http")
            && options.has_extension(&extension)
        {
            self.http_rule(source, &options.get_extension(&extension))?;
        }
        writeln!(source, "        ],\n    }},")?;
        Ok(())
    }

    /// One rule, then its `additional_bindings`, which nest once.
    fn http_rule(&self, source: &mut String, rule: &Value) -> Result<()> {
        let rule = rule.as_message().ok_or("google.api.http is not a message")?;
        let text = |name: &str| -> String {
            rule.get_field_by_name(name).and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
        };
        let (method, template) = ["get", "put", "post", "delete", "patch"]
            .iter()
            .map(|verb| (verb.to_uppercase(), text(verb)))
            .find(|(_, template)| !template.is_empty())
            .or_else(|| {
                let custom = rule.get_field_by_name("custom")?;
                let custom = custom.as_message()?;
                let part = |name: &str| custom.get_field_by_name(name)?.as_str().map(str::to_owned);
                Some((part("kind")?, part("path")?)).filter(|(kind, _)| !kind.is_empty())
            })
            .ok_or("a google.api.http rule without a pattern")?;
        let body = match text("body").as_str() {
            "" => "m::Body::None".to_owned(),
            "*" => "m::Body::Whole".to_owned(),
            field => format!("m::Body::Field({field:?})"),
        };
        let response_body = Some(text("response_body")).filter(|field| !field.is_empty());
        writeln!(
            source,
            "            m::HttpRule {{ method: {method:?}, template: {template:?}, body: {body}, response_body: {response_body:?} }},"
        )?;
        if let Some(Value::List(bindings)) = rule.get_field_by_name("additional_bindings").as_deref() {
            for binding in bindings {
                self.http_rule(source, binding)?;
            }
        }
        Ok(())
    }

    /// The path of a message's static, from the table of package `from`.
    fn static_path(&self, from: &str, message: &MessageDescriptor) -> String {
        let package = message.package_name();
        if package == from {
            return static_name(message);
        }
        format!("{}::proto::{}::table::{}", self.target.krate, package.replace('.', "::"), static_name(message))
    }
}

fn cardinality(field: &FieldDescriptor) -> &'static str {
    if field.is_map() {
        "Map"
    } else if field.cardinality() == Cardinality::Repeated {
        "Repeated"
    } else {
        "Singular"
    }
}

/// `Outer.Inner` as `OUTER_INNER`.
fn static_name(message: &MessageDescriptor) -> String {
    local_name(message).replace('.', "_").to_shouty_snake_case()
}

/// The prost type of a message, seen from the module `table` inside its package.
fn rust_type(message: &MessageDescriptor) -> String {
    let name = local_name(message);
    let mut parts: Vec<&str> = name.split('.').collect();
    let last = parts.pop().unwrap_or_default();
    let modules: String = parts.iter().map(|part| format!("{}::", part.to_snake_case())).collect();
    format!("super::{modules}{}", last.to_upper_camel_case())
}

fn local_name(message: &MessageDescriptor) -> String {
    message.full_name().trim_start_matches(message.package_name()).trim_start_matches('.').to_owned()
}
