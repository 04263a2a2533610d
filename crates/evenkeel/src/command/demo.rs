//! placeholder
use crate::args::DemoArgs;
use crate::exit::Exit;
use std::io::Write;
pub(super) async fn run(_args: &DemoArgs, _out: &mut impl Write) -> anyhow::Result<Exit> {
    Ok(Exit::Done)
}
