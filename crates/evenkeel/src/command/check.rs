//! `evenkeel check`: whether a config is valid, without binding anything or asking anybody.

use std::io::Write;
use std::time::Duration;

use evenkeel_core::units::Span;
use evenkeel_health::{Failure, WorstCase};
use evenkeel_proxy::OWED;
use evenkeel_vip::config::{Mode, VipConfig};

use crate::args::CheckArgs;
use crate::config::{Config, ServiceConfig, warnings};
use crate::exit::Exit;
use crate::table::Table;

pub(super) fn run(args: &CheckArgs, out: &mut impl Write) -> anyhow::Result<Exit> {
    let (config, file) = Config::load(&args.config)?;
    let warnings = warnings(&config);
    for warning in &warnings {
        writeln!(out, "{warning}")?;
    }
    let services: Vec<&str> = config.services.iter().map(|s| s.name.as_str()).collect();
    let count = match warnings.len() {
        0 => String::new(),
        1 => ", 1 warning".to_owned(),
        more => format!(", {more} warnings"),
    };
    writeln!(out, "{}: valid{count} (services: {})", file.file, services.join(", "))?;
    for service in &config.services {
        writeln!(out, "\n{}", worst_cases(service))?;
    }
    for vip in &config.vips {
        writeln!(out, "\n{}", worst_cases_of_vip(vip))?;
    }
    Ok(if args.strict && !warnings.is_empty() { Exit::ConfigWarnings } else { Exit::Done })
}

/// How long it takes at most until a failure of an endpoint is dealt with.
fn worst_cases(service: &ServiceConfig) -> String {
    let health = &service.health;
    let mut table = Table::new(&["failure of an endpoint", "avoided within", "reset within"]);
    for failure in Failure::ALL {
        let what = match failure {
            Failure::Refused => "refused: its process is gone",
            Failure::Silent => "silent: its host is gone",
            Failure::Hung => "hung: its process does nothing",
        };
        table.row(row(what, WorstCase::without_traffic(health, failure)));
        if failure != Failure::Refused {
            let what = format!("{}, while clients wait for it", failure.as_str());
            table.row(row(&what, WorstCase::with_traffic(health, failure, OWED)));
        }
    }
    format!(
        "service `{}`, at worst (no new connection fails meanwhile while another is well; resets wait \
         up to {} where no other is heard):\n{table}",
        service.name, service.failover.brake
    )
}

/// How long it takes at most until clients of a VIP reach another node.
fn worst_cases_of_vip(vip: &VipConfig) -> String {
    let addresses: Vec<String> = vip.addresses.iter().map(ToString::to_string).collect();
    let of_group = if vip.elects() { format!(", VRID {}", vip.vrid()) } else { String::new() };
    let mut table = Table::new(&["failure of the node with the address", "another serves within"]);
    let mut add = |what: &str, within: String| table.row(vec![what.to_owned(), within]);
    let gone = in_words(vip.gone_within());
    let hung = in_words(vip.hung_within());
    match (&vip.mode, vip.taken_over_within().map(in_words)) {
        (Mode::Hook(_), Some(taken)) => {
            add("any", format!("{taken}, and what the provider takes"));
        }
        (_, Some(taken)) => {
            add("none: it is moved, or ends in order", "0s: the next one has it first".to_owned());
            add("its host is gone, or stands still", taken.clone());
            add("its process is killed", taken);
            add("its data plane hangs", hung);
            add("the same, for clients that have to ask who has it", gone);
        }
        (_, None) => {
            add("its process is killed or hangs", format!("{gone}, and what routers take"));
            add("its host is gone", "what the routing daemon takes (BFD: 150ms)".to_owned());
        }
    }
    format!(
        "vip `{}` ({}; {}{of_group}), at worst:\n{table}",
        vip.name,
        addresses.join(", "),
        vip.mode_name()
    )
}

fn row(what: &str, worst: Option<WorstCase>) -> Vec<String> {
    let [avoid, reset] = match worst {
        Some(WorstCase { avoid, reset: Some(reset) }) => [in_words(avoid), in_words(reset)],
        Some(WorstCase { avoid, reset: None }) => {
            [in_words(avoid), "never: its kernel has told the clients".to_owned()]
        }
        None => ["never noticed".to_owned(), "never: a connect proves no process".to_owned()],
    };
    vec![what.to_owned(), avoid, reset]
}

fn in_words(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    Span::from_millis(millis).to_string()
}
