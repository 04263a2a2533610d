//! `evenkeel demo`: evenkeel at work before a pretend control plane, in one process. The balancer,
//! its probes and its discovery are the real ones; only the servers are pretended.

mod stage;
mod story;

use std::io::Write;

use crate::args::DemoArgs;
use crate::exit::Exit;
use crate::signals::Signals;

use self::stage::Stage;

pub(super) async fn run(args: &DemoArgs, out: &mut impl Write) -> anyhow::Result<Exit> {
    let mut signals = Signals::new()?;
    let mut stage = Stage::set(&args.kubeconfig, out).await?;
    let told = tokio::select! {
        told = story::tell(&mut stage, out) => Some(told),
        _ = signals.end() => None,
    };
    let exit = match told {
        None => Exit::Done,
        Some(told) => {
            let exit = if told? { Exit::Done } else { Exit::Failure };
            if !args.story {
                writeln!(
                    out,
                    "\nIt goes on until Ctrl-C. In another terminal:\n{}",
                    stage.hints()
                )?;
                tokio::select! {
                    shown = stage.show_events(out) => shown?,
                    _ = signals.end() => {}
                }
            }
            exit
        }
    };
    stage.strike().await;
    Ok(exit)
}
