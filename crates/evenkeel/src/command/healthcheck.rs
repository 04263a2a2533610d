//! `evenkeel healthcheck`.

use crate::admin_client;
use crate::args::AdminArgs;
use crate::exit::Exit;

pub(super) async fn run(args: AdminArgs) -> anyhow::Result<Exit> {
    let (status, _) = admin_client::ask(args.admin, "/livez").await?;
    Ok(if status.is_success() { Exit::Done } else { Exit::Failure })
}
