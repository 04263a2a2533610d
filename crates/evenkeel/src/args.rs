//! The command line. The only place that reads the environment.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use evenkeel_core::endpoint::Endpoint;

use crate::config::{LogFormat, LogLevel};
use crate::preset::Preset;

/// A load balancer that knows what a Kubernetes API server is.
#[derive(Debug, Parser)]
#[command(name = "evenkeel", version, max_term_width = 100, arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,

    /// The least severe events that are logged; wins over the config.
    #[arg(long, global = true, value_name = "LEVEL", env = "EVENKEEL_LOG_LEVEL")]
    pub(crate) log_level: Option<LogLevel>,

    /// The form of a log line; wins over the config.
    #[arg(long, global = true, value_name = "FORMAT", env = "EVENKEEL_LOG_FORMAT")]
    pub(crate) log_format: Option<LogFormat>,

    /// When output is coloured.
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        env = "EVENKEEL_COLOR"
    )]
    pub(crate) color: Color,
}

/// When output is coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, and where `NO_COLOR` is not set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What to do. To add one: a file in `command/`, its variant here, its arm in `command.rs`.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Balance, until SIGTERM.
    Run(RunArgs),
    /// Check a config without binding anything.
    Check(CheckArgs),
    /// Show the config as it is understood, or its schema.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Show how the running process stands.
    Status(StatusArgs),
    /// Show what changed, when and why.
    Events(EventsArgs),
    /// Move a virtual IP.
    #[command(subcommand)]
    Vip(VipCommand),
    /// Probe one server once, and show every phase.
    Probe(ProbeArgs),
    /// Watch evenkeel at work on a pretend control plane; touches nothing outside 127.0.0.1.
    Demo(DemoArgs),
    /// Exit with 0 if the running process is alive; for images without curl.
    Healthcheck(AdminArgs),
    /// Print the completions of a shell.
    Completion {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the version.
    Version {
        /// How.
        #[arg(short, long, default_value = "text")]
        output: TextOrJson,
    },
}

/// The arguments of `run`.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true))]
pub(crate) struct RunArgs {
    /// The config file.
    #[arg(short, long, value_name = "FILE", group = "what", env = "EVENKEEL_CONFIG")]
    pub(crate) config: Option<PathBuf>,

    /// Balance the API servers of this kubeconfig's cluster, without a config file.
    #[arg(long, value_name = "FILE", group = "what", env = "EVENKEEL_KUBECONFIG")]
    pub(crate) kubeconfig: Option<PathBuf>,

    /// The context of the kubeconfig [default: its current one].
    #[arg(long, value_name = "NAME", requires = "kubeconfig", conflicts_with = "config")]
    pub(crate) context: Option<String>,

    /// Where to listen, with --kubeconfig [default: 0.0.0.0:6443].
    #[arg(long, value_name = "ADDRESS", requires = "kubeconfig", conflicts_with = "config")]
    pub(crate) listen: Option<SocketAddr>,

    /// Where the admin endpoint listens, with --kubeconfig [default: 127.0.0.1:9643].
    #[arg(long, value_name = "ADDRESS", requires = "kubeconfig", conflicts_with = "config")]
    pub(crate) admin_listen: Option<SocketAddr>,

    #[command(flatten)]
    pub(crate) pod: PodArgs,
}

/// What a pod's environment tells of its cluster.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct PodArgs {
    #[arg(long, hide = true, env = "KUBERNETES_SERVICE_HOST")]
    pub(crate) kubernetes_service_host: Option<String>,
    #[arg(long, hide = true, env = "KUBERNETES_SERVICE_PORT")]
    pub(crate) kubernetes_service_port: Option<String>,
}

/// The arguments of `check`.
#[derive(Debug, clap::Args)]
pub(crate) struct CheckArgs {
    /// The config file.
    #[arg(short, long, value_name = "FILE", env = "EVENKEEL_CONFIG")]
    pub(crate) config: PathBuf,

    /// Exit with 4 where there are warnings.
    #[arg(long)]
    pub(crate) strict: bool,
}

/// The commands under `config`.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print the config with everything that presets and defaults fill in.
    Show {
        /// The config file.
        #[arg(short, long, value_name = "FILE", env = "EVENKEEL_CONFIG")]
        config: PathBuf,
    },
    /// Print the JSON Schema of the config.
    Schema,
}

/// The commands under `vip`.
#[derive(Debug, Subcommand)]
pub(crate) enum VipCommand {
    /// Hand the address of this node over to another one, without a gap. Ends with 1 if there is
    /// nothing to hand over, or nobody to take it.
    Move {
        /// Which VIP [default: the only one].
        #[arg(value_name = "NAME")]
        name: Option<String>,

        #[command(flatten)]
        admin: AdminArgs,
    },
}

/// Where the running process is asked.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct AdminArgs {
    /// The admin endpoint of the running process.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9643", env = "EVENKEEL_ADMIN")]
    pub(crate) admin: SocketAddr,
}

/// The arguments of `status`.
#[derive(Debug, clap::Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) admin: AdminArgs,

    /// How.
    #[arg(short, long, default_value = "table")]
    pub(crate) output: TableOrJson,

    /// Exit with 7 if a service has no ready backend, with 6 if one is not ready and no further
    /// failure is tolerated.
    #[arg(long)]
    pub(crate) check: bool,
}

/// The arguments of `events`.
#[derive(Debug, clap::Args)]
pub(crate) struct EventsArgs {
    #[command(flatten)]
    pub(crate) admin: AdminArgs,

    /// Only those after this sequence number.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub(crate) since: u64,

    /// How.
    #[arg(short, long, default_value = "table")]
    pub(crate) output: TableOrJson,
}

/// The arguments of `probe`.
#[derive(Debug, clap::Args)]
pub(crate) struct ProbeArgs {
    /// The server's IP address and port.
    pub(crate) endpoint: Endpoint,

    /// What it is asked: as a service with this preset would ask.
    #[arg(long, value_enum, default_value = "kube-apiserver")]
    pub(crate) preset: Preset,

    /// Take CA and credential from this kubeconfig.
    #[arg(long, value_name = "FILE", env = "EVENKEEL_KUBECONFIG", conflicts_with_all = ["ca", "certificate", "key", "token"])]
    pub(crate) kubeconfig: Option<PathBuf>,

    /// The CA that the server's certificate must be from, PEM.
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,

    /// A client certificate, PEM.
    #[arg(long, value_name = "FILE", requires = "key")]
    pub(crate) certificate: Option<PathBuf>,

    /// Its private key, PEM.
    #[arg(long, value_name = "FILE", requires = "certificate")]
    pub(crate) key: Option<PathBuf>,

    /// A file with a bearer token.
    #[arg(long, value_name = "FILE")]
    pub(crate) token: Option<PathBuf>,

    /// The path to ask for, with the presets https and argocd-server.
    #[arg(long, value_name = "PATH")]
    pub(crate) path: Option<String>,

    /// The name that the server's certificate must have.
    #[arg(long, value_name = "NAME")]
    pub(crate) server_name: Option<String>,

    /// How.
    #[arg(short, long, default_value = "table")]
    pub(crate) output: TableOrJson,
}

/// The arguments of `demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct DemoArgs {
    /// Play the story once and exit: 0 only if no new connection failed.
    #[arg(long)]
    pub(crate) story: bool,

    /// Where the kubeconfig of the pretend cluster is written.
    #[arg(long, value_name = "FILE", default_value = "evenkeel-demo.yaml")]
    pub(crate) kubeconfig: PathBuf,
}

/// A form of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TableOrJson {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// A form of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TextOrJson {
    /// For people.
    Text,
    /// For programs.
    Json,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn run_wants_to_know_what() {
        assert!(Args::try_parse_from(["evenkeel", "run"]).is_err());
        assert!(Args::try_parse_from(["evenkeel", "run", "--listen", "0.0.0.0:1"]).is_err());
        assert!(Args::try_parse_from(["evenkeel", "run", "-c", "a", "--kubeconfig", "b"]).is_err());
        let args = ["evenkeel", "run", "--kubeconfig", "b", "--listen", "127.0.0.1:7445"];
        assert!(Args::try_parse_from(args).is_ok());
    }
}
