//! `wirephoto health`: what each server says of itself and its service.

use serde_json::json;

use super::{Failure, options, print, print_json};
use crate::cli::HealthArgs;
use crate::client::{Client, ClientOptions, Health, SERVICE};

pub(super) async fn run(args: HealthArgs) -> Result<(), Failure> {
    let options = options(&args.client)?;
    let mut services = Vec::new();
    for server in options.servers.iter() {
        let client = Client::new(ClientOptions { servers: server.clone().into(), ..options.clone() });
        for service in ["", SERVICE] {
            services.push((server, service, client.health(service).await?));
        }
    }
    if args.json {
        let services: Vec<_> = services
            .iter()
            .map(|(server, service, health)| {
                json!({ "server": server.to_string(), "service": service, "status": health.to_string() })
            })
            .collect();
        print_json(&json!({ "services": services }))?;
    } else {
        let several = options.servers.iter().count() > 1;
        print(|out| {
            for (server, service, health) in &services {
                let service = if service.is_empty() { "server" } else { service };
                let server = if several { format!("{server}  ") } else { String::new() };
                writeln!(out, "{server}{service:<26}  {health}")?;
            }
            Ok(())
        })?;
    }
    match services.iter().find(|(_, _, health)| *health != Health::Serving) {
        None => Ok(()),
        Some((server, ..)) => Err(Failure::Failed(format!("{server} is not serving"))),
    }
}
