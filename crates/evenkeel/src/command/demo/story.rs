//! The story: one server freezes, one shuts down, both come back; and what clients felt of it.

use std::io::Write;
use std::time::Duration;

use evenkeel_core::health::{Class, Health};
use evenkeel_lab::{ClientKind, Fault, Felt};
use tokio::time::sleep;

use super::stage::Stage;

/// How long each state of affairs is left to the clients.
const SCENE: Duration = Duration::from_secs(2);

/// Tells the story. Returns whether no new connection failed.
///
/// # Errors
/// If something that must happen does not.
pub(super) async fn tell(stage: &mut Stage, out: &mut impl Write) -> anyhow::Result<bool> {
    stage.until("all servers ready", out, |view| view.ready() == 3).await?;
    let verdict = stage.verdict()?;
    stage.say(out, &verdict)?;
    let whole = stage.load.mark();
    sleep(SCENE).await;

    stage.say(out, "")?;
    // Whoever has most of the clients that stay, so that there is something to feel.
    let frozen = stage.busiest();
    let name = stage.plane.api_server(frozen).name().to_owned();
    stage.say(
        out,
        &format!("{name} freezes: its kernel accepts, its process is silent; a TCP check calls it healthy"),
    )?;
    let scene = stage.load.mark();
    stage.plane.set_fault(frozen, Fault::Frozen).await;
    let avoided = stage
        .until_server(frozen, "frozen server avoided", out, |m| m.evidence.health != Health::Ready)
        .await?;
    let dead = stage
        .until_server(frozen, "frozen server dead", out, |m| m.evidence.health == Health::Dead)
        .await?;
    stage.say(
        out,
        &format!(
            "avoided by new connections after {}, its open ones reset after {}",
            seconds(avoided),
            seconds(avoided + dead)
        ),
    )?;
    let verdict = stage.verdict()?;
    stage.say(out, &verdict)?;
    sleep(SCENE).await;
    stage.plane.set_fault(frozen, Fault::None).await;
    stage
        .until_server(frozen, "thawed server ready", out, |m| m.evidence.health == Health::Ready)
        .await?;
    let felt = stage.load.felt_since(&scene);
    stage.say(out, &said(&felt))?;

    stage.say(out, "")?;
    let drained = stage.busiest();
    let name = stage.plane.api_server(drained).name().to_owned();
    stage.say(out, &format!("{name} shuts down: /readyz turns red, and it serves what it has"))?;
    let scene = stage.load.mark();
    stage.plane.set_fault(drained, Fault::ShuttingDown).await;
    stage
        .until_server(drained, "server drained", out, |m| m.evidence.class == Class::ShuttingDown)
        .await?;
    sleep(SCENE).await;
    stage.plane.set_fault(drained, Fault::None).await;
    stage.until_server(drained, "server back", out, |m| m.evidence.health == Health::Ready).await?;
    let felt = stage.load.felt_since(&scene);
    stage.say(out, &said(&felt))?;
    let cut = felt.resets;
    let verdict = stage.verdict()?;
    stage.say(out, &verdict)?;

    let felt = stage.load.felt_since(&whole);
    stage.say(out, "")?;
    stage.say(out, &format!("In all: {}", said(&felt)))?;
    let failed = felt.failures.iter().filter(|failure| failure.client == ClientKind::New);
    for failure in failed.take(5) {
        stage.say(out, &format!("    failed: {}", failure.reason))?;
    }
    if cut > 0 {
        stage.say(
            out,
            "    connections of the server that shut down were cut: they should not be",
        )?;
    }
    let silent = felt.new.opened == 0 || felt.watch.heard == 0;
    Ok(felt.new.failed == 0 && cut == 0 && !silent)
}

fn said(felt: &Felt) -> String {
    format!(
        "{} new connections, {} failed (half within {}, slowest {}); {} open ones reset, all back; longest silence of a watch {}",
        felt.new.opened,
        felt.new.failed,
        seconds(felt.new.median),
        seconds(felt.new.longest),
        felt.resets,
        seconds(felt.watch.longest_gap)
    )
}

fn seconds(duration: Duration) -> String {
    if duration < Duration::from_millis(100) {
        format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
    } else {
        format!("{:.2} s", duration.as_secs_f64())
    }
}
