//! `wirephoto rm NAME…`.

use super::{Failure, complain, connect, explain, image_id};
use crate::cli::RmArgs;

pub(super) async fn run(args: RmArgs) -> Result<(), Failure> {
    let ids = args.names.iter().map(|name| image_id(name)).collect::<Result<Vec<_>, _>>()?;
    let client = connect(&args.client)?;
    let mut failed = false;
    for id in ids {
        if let Err(error) = client.delete(&id.name(), "", args.allow_missing).await {
            complain(&id, explain(&error));
            failed = true;
            if error.is_unreachable() {
                break;
            }
        }
    }
    if failed { Err(Failure::Told) } else { Ok(()) }
}
