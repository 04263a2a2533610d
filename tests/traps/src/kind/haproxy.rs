//! HAProxy, from the PATH.

use std::fmt::{self, Write};
use std::io;
use std::process::Command;

use crate::kind::Site;

/// `HAProxy`, whose program is in the `PATH`.
#[derive(Clone, Copy, Debug)]
pub struct Haproxy {
    /// Whether it always splices, through pipes of 256 KiB.
    pub splice: bool,
}

impl fmt::Display for Haproxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.splice { "HAProxy splice" } else { "HAProxy" })
    }
}

impl Haproxy {
    pub(crate) fn command(self, site: &Site<'_>) -> io::Result<Command> {
        let path = site.write("haproxy.cfg", &self.config(site).map_err(io::Error::other)?)?;
        let mut command = Command::new("haproxy");
        command.arg("-db").arg("-f").arg(path);
        Ok(command)
    }

    fn config(self, site: &Site<'_>) -> Result<String, fmt::Error> {
        let mut config = String::from("global\n");
        writeln!(config, "  nbthread {}", site.threads.unwrap_or(2))?;
        // Pipes and listeners count in its limit of descriptors, which must be enough for all.
        writeln!(config, "  maxconn {}", if site.few_descriptors { 16 } else { 4000 })?;
        if self.splice {
            config += "  tune.pipesize 262144\n";
        }
        config += DEFAULTS;
        if self.splice {
            config += "  option splice-request\n  option splice-response\n";
        }
        config += "listen trap\n  bind {listen}\n";
        for (index, backend) in site.backends.iter().enumerate() {
            writeln!(config, "  server s{index} {backend}")?;
        }
        Ok(config)
    }
}

const DEFAULTS: &str = "defaults
  mode tcp
  balance roundrobin
  option redispatch 1
  timeout connect 2s
  timeout client 1h
  timeout server 1h
";
