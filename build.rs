//! Makes the Rust of every proto: prost types, tonic services, proto3 JSON, descriptors and the method table.
//!
//! `proto/` is the product's; `tests/proto/` holds services that exist to prove the wires generic. Neither needs protoc.

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use heck::{ToShoutySnakeCase as _, ToUpperCamelCase as _};
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
    Target {
        files: &["tests/proto/older/wirephoto/v1/image_service.proto"],
        includes: &["tests/proto/older"],
        packages: &["wirephoto.v1"],
        krate: "::wirephoto",
        out: out.join("tests/older"),
    }
    .generate()?;
    well_known_table(&out)?;
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rerun-if-changed=tests/proto");
    Ok(())
}

/// The table of `google.protobuf`. Its Rust types are written elsewhere, and no service's descriptors have it whole.
fn well_known_table(out: &Path) -> Result<()> {
    let mut compiler = protox::Compiler::new(["proto"])?;
    let files = ["any", "duration", "empty", "field_mask", "struct", "timestamp", "wrappers"];
    compiler.open_files(files.map(|file| format!("google/protobuf/{file}.proto")))?;
    let pool = compiler.descriptor_pool();
    let source = Table { krate: "crate", pool: &pool }.package("google.protobuf")?;
    Ok(fs::write(out.join("google.protobuf.table.rs"), source)?)
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
            let source = Table { krate: self.krate, pool: &pool }.package(package)?;
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
            "NullValue",
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
    krate: &'static str,
    pool: &'a DescriptorPool,
}

impl Table<'_> {
    fn package(&self, package: &str) -> Result<String> {
        let mut source = format!("use {}::wire::method as m;\n\n", self.krate);
        let messages: Vec<_> = self
            .pool
            .all_messages()
            .filter(|message| message.package_name() == package && !message.is_map_entry())
            .collect();
        for message in &messages {
            self.message(&mut source, message)?;
        }
        for declared in self.pool.all_enums().filter(|declared| declared.package_name() == package) {
            writeln!(source, "/// `{}`.", declared.full_name())?;
            writeln!(source, "pub static {}: m::Enum = m::Enum {{", static_name(package, declared.full_name()))?;
            writeln!(source, "    name: {:?},", declared.full_name())?;
            let values: Vec<String> =
                declared.values().map(|value| format!("({:?}, {})", value.name(), value.number())).collect();
            writeln!(source, "    values: &[{}],\n}};\n", values.join(", "))?;
        }
        writeln!(source, "/// Every message of `{package}`.")?;
        writeln!(source, "pub static MESSAGES: &[&m::Message] = &[")?;
        for message in &messages {
            writeln!(source, "    &{},", static_name(package, message.full_name()))?;
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
        let well_known =
            well_known(message.full_name()).map_or("None".into(), |kind| format!("Some(m::WellKnown::{kind})"));
        writeln!(source, "/// `{}`.", message.full_name())?;
        writeln!(
            source,
            "pub static {}: m::Message = m::Message {{",
            static_name(message.package_name(), message.full_name())
        )?;
        writeln!(source, "    name: {:?},", message.full_name())?;
        writeln!(source, "    well_known: {well_known},")?;
        writeln!(source, "    package: &MESSAGES,")?;
        writeln!(source, "    fields: &[")?;
        for field in message.fields() {
            let (cardinality, kind) = match field.kind() {
                Kind::Message(entry) if field.is_map() => {
                    let key = self.kind(&entry.map_entry_key_field());
                    (format!("Map({key})"), self.kind(&entry.map_entry_value_field()))
                }
                _ if field.cardinality() == Cardinality::Repeated => ("Repeated".into(), self.kind(&field)),
                _ => ("Singular".into(), self.kind(&field)),
            };
            let oneof = field.containing_oneof().filter(|oneof| !oneof.is_synthetic());
            writeln!(
                source,
                "        m::Field {{ name: {:?}, json_name: {:?}, number: {}, cardinality: m::Cardinality::{cardinality}, \
                 kind: {kind}, presence: {}, oneof: {:?} }},",
                field.name(),
                field.json_name(),
                field.number(),
                field.supports_presence(),
                oneof.as_ref().map(|oneof| oneof.name()),
            )?;
        }
        writeln!(source, "    ],\n}};\n")?;
        Ok(())
    }

    fn kind(&self, field: &FieldDescriptor) -> String {
        let from = field.parent_message().package_name().to_owned();
        match field.kind() {
            Kind::Enum(declared) => {
                let path = self.static_path(&from, declared.package_name(), declared.full_name());
                format!("m::FieldKind::Enum(&{path})")
            }
            Kind::Message(message) => {
                let path = self.static_path(&from, message.package_name(), message.full_name());
                format!("m::FieldKind::Message(&{path})")
            }
            scalar => format!("m::FieldKind::{}", format!("{scalar:?}").to_upper_camel_case()),
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
        let path = |message: MessageDescriptor| {
            self.static_path(service.package_name(), message.package_name(), message.full_name())
        };
        writeln!(source, "        input: &{},", path(method.input()))?;
        writeln!(source, "        output: &{},", path(method.output()))?;
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

    /// The path of a message's or enum's static, from the table of package `from`.
    fn static_path(&self, from: &str, package: &str, full_name: &str) -> String {
        let name = static_name(package, full_name);
        if package == from {
            return name;
        }
        // `google.protobuf` is the crate's own, whoever names it.
        format!("{}::proto::{}::table::{name}", self.krate, package.replace('.', "::"))
    }
}

/// `Outer.Inner` of the package as `OUTER_INNER`.
fn static_name(package: &str, full_name: &str) -> String {
    let local = full_name.trim_start_matches(package).trim_start_matches('.');
    local.replace('.', "_").to_shouty_snake_case()
}

/// The variant of `m::WellKnown` for messages that have a JSON form of their own.
fn well_known(full_name: &str) -> Option<&str> {
    Some(match full_name.strip_prefix("google.protobuf.")? {
        name @ ("Any" | "Duration" | "FieldMask" | "ListValue" | "Struct" | "Timestamp" | "Value") => name,
        "BoolValue" | "BytesValue" | "DoubleValue" | "FloatValue" | "Int32Value" | "Int64Value" | "StringValue"
        | "UInt32Value" | "UInt64Value" => "Wrapper",
        _ => return None,
    })
}
