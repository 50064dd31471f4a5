//! `wirephoto health`: what the server says of itself and its service.

use serde_json::json;

use super::{Failure, connect, print, print_json};
use crate::cli::HealthArgs;
use crate::client::{Health, SERVICE};

pub(super) async fn run(args: HealthArgs) -> Result<(), Failure> {
    let client = connect(&args.client)?;
    let mut services = Vec::new();
    for service in ["", SERVICE] {
        services.push((service, client.health(service).await?));
    }
    if args.json {
        let services: Vec<_> = services
            .iter()
            .map(|(service, health)| json!({ "service": service, "status": health.to_string() }))
            .collect();
        print_json(&json!({ "services": services }))?;
    } else {
        print(|out| {
            for (service, health) in &services {
                let service = if service.is_empty() { "server" } else { service };
                writeln!(out, "{service:<26}  {health}")?;
            }
            Ok(())
        })?;
    }
    if services.iter().all(|(_, health)| *health == Health::Serving) {
        Ok(())
    } else {
        Err(Failure::Failed(format!("{} is not serving", client.servers())))
    }
}
