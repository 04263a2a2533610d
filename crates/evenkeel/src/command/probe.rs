//! `evenkeel probe`: one probe of one server, phase by phase.

use std::io::Write;

use anyhow::Context as _;
use evenkeel_health::probe::{self, Probe};
use evenkeel_health::{Attempt, HealthConfig, Trust};
use serde_json::json;

use crate::args::{ProbeArgs, TableOrJson};
use crate::config::{CredentialsConfig, FileCredentials, KubeconfigCredentials};
use crate::credentials::{self, PodEnvironment};
use crate::exit::Exit;

pub(super) async fn run(args: &ProbeArgs, out: &mut impl Write) -> anyhow::Result<Exit> {
    let access = credentials::read(&credentials_config(args), &PodEnvironment::default())?;
    let trust = Trust::new(&access.credentials)?;
    let config = health_config(args)?;
    let attempt = probe::attempt(&config, &trust, args.endpoint).await;
    match args.output {
        TableOrJson::Json => super::json(&as_json(args, &trust, &attempt), out)?,
        TableOrJson::Table => show(args, &trust, &attempt, out)?,
    }
    let ready = attempt.outcome.class == evenkeel_core::health::Class::Ready;
    Ok(if ready { Exit::Done } else { Exit::Failure })
}

fn credentials_config(args: &ProbeArgs) -> CredentialsConfig {
    match &args.kubeconfig {
        Some(file) => CredentialsConfig::Kubeconfig(KubeconfigCredentials {
            file: file.clone(),
            context: None,
        }),
        None => CredentialsConfig::Files(FileCredentials {
            ca: args.ca.clone(),
            certificate: args.certificate.clone(),
            key: args.key.clone(),
            token: args.token.clone(),
        }),
    }
}

/// How a service with the preset would probe.
fn health_config(args: &ProbeArgs) -> anyhow::Result<HealthConfig> {
    let health = args.preset.defaults();
    let health = health.get("health").cloned().unwrap_or_default();
    let mut config: HealthConfig = serde_json::from_value(health).context("preset")?;
    match &mut config.probe {
        Probe::Tcp(_) => {}
        Probe::Tls(probe) => probe.server_name.clone_from(&args.server_name),
        Probe::Https(probe) => {
            probe.server_name.clone_from(&args.server_name);
            if let Some(path) = &args.path {
                probe.path.clone_from(path);
            }
            if args.ca.is_some() {
                probe.verify = evenkeel_health::Verify::Auto;
            }
        }
        Probe::KubeApiserver(probe) => {
            if let Some(name) = &args.server_name {
                probe.server_name.clone_from(name);
            }
        }
    }
    garde::Validate::validate(&config)?;
    Ok(config)
}

fn show(
    args: &ProbeArgs,
    trust: &Trust,
    attempt: &Attempt,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    writeln!(out, "{} as {}", args.endpoint, args.preset)?;
    for phase in &attempt.phases {
        let glyph = if phase.passed { "√" } else { "×" };
        let took = phase.took.as_secs_f64() * 1000.0;
        writeln!(out, "  {glyph} {:<8} {took:>8.1} ms  {}", phase.name, phase.detail)?;
    }
    for step in &attempt.steps {
        let status = step.status.map_or_else(|| "none".to_owned(), |status| status.to_string());
        writeln!(out, "      GET {} -> {status}", step.path)?;
    }
    let class = attempt.outcome.class;
    writeln!(out, "  health   {} ({class}): {}", class.health(), class.meaning())?;
    writeln!(out, "  reason   {}", attempt.outcome.detail)?;
    if !trust.verifies_identity() {
        writeln!(
            out,
            "  ! the identity of the server was not verified: give --ca or --kubeconfig"
        )?;
    }
    Ok(())
}

fn as_json(args: &ProbeArgs, trust: &Trust, attempt: &Attempt) -> serde_json::Value {
    let milliseconds = |took: std::time::Duration| took.as_secs_f64() * 1000.0;
    json!({
        "endpoint": args.endpoint,
        "preset": args.preset,
        "health": attempt.outcome.class.health(),
        "class": attempt.outcome.class,
        "why": attempt.outcome.class.meaning(),
        "detail": attempt.outcome.detail,
        "tookMs": milliseconds(attempt.outcome.took),
        "caGiven": trust.verifies_identity(),
        "phases": attempt.phases.iter().map(|phase| json!({
            "name": phase.name.as_str(),
            "passed": phase.passed,
            "tookMs": milliseconds(phase.took),
            "detail": phase.detail,
        })).collect::<Vec<_>>(),
        "steps": attempt.steps.iter().map(|step| json!({
            "path": step.path,
            "status": step.status,
        })).collect::<Vec<_>>(),
    })
}
