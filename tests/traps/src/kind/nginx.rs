//! nginx's module stream, from the PATH.

use std::fmt;
use std::io;
use std::path::Path;
use std::process::Command;

use crate::kind::Site;

/// nginx, whose program is in the `PATH`. One worker.
#[derive(Clone, Copy, Debug)]
pub struct Nginx {
    /// Whether `proxy_half_close` is on; its default is off.
    pub half_close: bool,
}

impl fmt::Display for Nginx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.half_close { "nginx" } else { "nginx default" })
    }
}

impl Nginx {
    pub(crate) fn command(self, site: &Site<'_>) -> io::Result<Command> {
        let backends = site.backends.iter().map(|b| format!("    server {b} max_fails=0;\n"));
        // A module in Debian, built in elsewhere.
        let is_module = Path::new(MODULE).exists();
        let config = CONFIG
            .replace(
                "{module}",
                &if is_module { format!("load_module {MODULE};") } else { String::new() },
            )
            .replace("{directory}", &site.directory.display().to_string())
            .replace("{backends}", &backends.collect::<String>())
            .replace("{half_close}", if self.half_close { "on" } else { "off" });
        let path = site.write("nginx.conf", &config)?;
        let mut command = Command::new("nginx");
        // Before it has read its config it would write to a folder of the machine.
        command.args(["-e", "stderr"]).arg("-p").arg(site.directory).arg("-c").arg(path);
        Ok(command)
    }
}

const MODULE: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

const CONFIG: &str = "{module}
daemon off;
worker_processes 1;
pid {directory}/pid;
error_log stderr warn;
events {
  worker_connections 4096;
}
stream {
  upstream trap {
{backends}  }
  server {
    listen {listen} backlog=4096;
    proxy_pass trap;
    proxy_connect_timeout 2s;
    proxy_timeout 1h;
    proxy_half_close {half_close};
    tcp_nodelay on;
  }
}
";
