//! `evenkeel vip`: what can be done about the address.

use std::io::Write;

use anyhow::{Context as _, bail};

use crate::admin_client::Unreachable;
use crate::args::VipCommand;
use crate::control::{self, Answer, Ask};
use crate::exit::Exit;

pub(super) async fn run(command: &VipCommand, out: &mut impl Write) -> anyhow::Result<Exit> {
    let VipCommand::Move { name, admin } = command;
    let ask = Ask::Move { vip: name.clone() };
    let answer = control::ask(admin.admin, &ask)
        .await
        .map_err(|error| anyhow::Error::from(error).context(Unreachable { admin: admin.admin }))?;
    match answer {
        Answer::Done(what) => {
            writeln!(out, "{what}").context("standard output")?;
            Ok(Exit::Done)
        }
        Answer::Refused(why) => bail!(why),
    }
}
