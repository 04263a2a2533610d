//! One host: a network namespace, its addresses, and what can befall it.

use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;
use std::panic::resume_unwind;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use crate::https::{HttpsError, fetch};
use crate::ip::{IpError, ip};
use crate::leftovers::NAMESPACES;
use crate::process::{Process, ProcessError};

/// Why a thread is not in a namespace.
#[derive(Debug, thiserror::Error)]
pub enum EnterError {
    /// The namespace is gone: its network was dropped.
    #[error("there is no namespace {namespace}")]
    Gone {
        /// The namespace.
        namespace: String,
        /// Why it could not be opened.
        source: io::Error,
    },
    /// The kernel refused to start the thread.
    #[error("could not start a thread")]
    Thread(#[source] io::Error),
    /// The kernel refused what a runtime needs.
    #[error("could not start a runtime")]
    Runtime(#[source] io::Error),
    /// The kernel refused to move the thread.
    #[error("could not move into namespace {namespace}")]
    Move {
        /// The namespace.
        namespace: String,
        /// Why not.
        source: io::Error,
    },
}

/// Why a setting of the kernel of a host was not changed.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The host could not be entered.
    #[error("could not enter the host")]
    Enter(#[from] EnterError),
    /// The kernel refused.
    #[error("could not write {path}")]
    Write {
        /// The setting.
        path: &'static str,
        /// Why not.
        source: io::Error,
    },
}

/// A handle of one host of a [`Network`](crate::Network), which owns it.
#[derive(Clone, Debug)]
pub struct Host {
    name: String,
    bridge: String,
    namespace: String,
    number: u8,
    // For logs; kept so that it outlives every process that writes there.
    directory: Arc<TempDir>,
}

impl Host {
    pub(crate) fn new(name: &str, prefix: &str, number: u8, directory: Arc<TempDir>) -> Self {
        Self {
            name: name.to_owned(),
            bridge: format!("{prefix}br"),
            namespace: format!("{prefix}{name}"),
            number,
            directory,
        }
    }

    /// Its name on the network, for example `cp-1`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name that `ip netns` knows it by.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The name of its only interface besides `lo`.
    pub fn interface(&self) -> &'static str {
        "eth0"
    }

    /// Its address `10.0.0.<number>`, of a `/24`.
    pub fn ipv4(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 0, 0, self.number)
    }

    /// Its address `fd00::<number>`, of a `/64`; the digits are those of the IPv4 address.
    pub fn ipv6(&self) -> Ipv6Addr {
        let n = u16::from(self.number);
        // Each decimal digit becomes a hexadecimal one.
        let same_digits = (n / 100 * 16 + n / 10 % 10) * 16 + n % 10;
        Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, same_digits)
    }

    /// Both addresses.
    pub fn addresses(&self) -> [IpAddr; 2] {
        [self.ipv4().into(), self.ipv6().into()]
    }

    /// The directory of its network, for files that end with it.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn shared_directory(&self) -> Arc<TempDir> {
        Arc::clone(&self.directory)
    }

    /// Unplugs it at the switch: nobody hears of it again, and nothing is refused or reset.
    ///
    /// Its own interface loses its carrier, as with a pulled cable.
    ///
    /// # Errors
    /// If `ip` refuses, for example because the network is gone.
    pub fn cut(&self) -> Result<(), IpError> {
        self.plug("down")
    }

    /// Plugs it in again.
    ///
    /// # Errors
    /// If `ip` refuses, for example because the network is gone.
    pub fn heal(&self) -> Result<(), IpError> {
        self.plug("up")
    }

    /// Lets its kernel pass on what is not for it, as a node of Kubernetes does, or not, as at
    /// first.
    ///
    /// # Errors
    /// If the namespace is gone or the kernel refuses.
    pub fn forward(&self, forwards: bool) -> Result<(), KernelError> {
        let value = if forwards { "1" } else { "0" };
        self.within(|| {
            ["/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv6/conf/all/forwarding"]
                .into_iter()
                .try_for_each(|path| {
                    std::fs::write(path, value)
                        .map_err(|source| KernelError::Write { path, source })
                })
        })?
    }

    /// Runs `ip` on it with the words of `line`: what it wrote to standard output.
    ///
    /// # Errors
    /// If `ip` refuses.
    pub fn ip(&self, line: &str) -> Result<String, IpError> {
        ip(&format!("-n {} {line}", self.namespace))
    }

    /// The link-layer address of its interface.
    ///
    /// # Errors
    /// If `ip` refuses, for example because the network is gone.
    pub fn mac(&self) -> Result<String, IpError> {
        let link = self.ip(&format!("-o link show dev {}", self.interface()))?;
        Ok(after(&link, "link/ether").unwrap_or_default())
    }

    /// Where its kernel believes that an address is: a link-layer address, if it knows one.
    ///
    /// # Errors
    /// If `ip` refuses, for example because the network is gone.
    pub fn believes(&self, address: IpAddr) -> Result<Option<String>, IpError> {
        let known = self.ip(&format!("neigh show to {address} dev {}", self.interface()))?;
        Ok(after(&known, "lladdr"))
    }

    /// Has its kernel forget where its neighbours are.
    ///
    /// # Errors
    /// If `ip` refuses, for example because the network is gone.
    pub fn forget_neighbours(&self) -> Result<(), IpError> {
        self.ip(&format!("neigh flush dev {}", self.interface())).map(drop)
    }

    fn plug(&self, state: &str) -> Result<(), IpError> {
        ip(&format!("-n {} link set {} {state}", self.bridge, self.name)).map(drop)
    }

    /// A command that runs `program` on this host, under the pid that it is spawned with. What
    /// it reads as the name of the machine is the name of the host.
    ///
    /// The kernel kills it when the *thread* that spawned it ends, hence at the latest with this
    /// process. So it is for commands whose end the caller awaits; what shall go on belongs in
    /// [`Host::spawn`].
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--", "ip", "netns", "exec", &self.namespace])
            .args(["unshare", "--uts", "--", "sh", "-c", BECOME, "sh"])
            .args([&std::process::id().to_string(), &self.name])
            .arg(program.as_ref());
        command
    }

    /// Starts a command of [`Host::command`] that goes on until the [`Process`] is dropped, with
    /// its output in `<host>-<name>.log` in the directory of the network.
    ///
    /// # Errors
    /// If its log or it itself could not be started.
    pub fn spawn(&self, name: &str, command: Command) -> Result<Process, ProcessError> {
        Process::spawn(&format!("{}-{name}", self.name), command, self.shared_directory())
    }

    /// Runs `closure` on a new thread that is on this host: sockets made there are the host's.
    ///
    /// Threads and runtimes that it starts are on the host too. `/proc/net` and `/sys` still show
    /// the machine; read `/proc/thread-self/net`.
    ///
    /// # Errors
    /// If the namespace is gone or the kernel refuses; then `closure` did not run.
    pub fn enter<T: Send + 'static>(
        &self,
        closure: impl FnOnce() -> T + Send + 'static,
    ) -> Result<JoinHandle<T>, EnterError> {
        let namespace = Namespace::open(&self.namespace)?;
        let (report, entered) = mpsc::sync_channel(1);
        let thread = thread::Builder::new()
            .name(format!("on {}", self.name))
            .spawn(move || {
                let moved = namespace.enter();
                let may_run = moved.is_ok();
                // The caller waits for it, so there is somebody to receive it.
                drop(report.send(moved));
                if !may_run {
                    // Ends the thread without the message of a panic: the caller has the error.
                    resume_unwind(Box::new("not on the host"));
                }
                closure()
            })
            .map_err(EnterError::Thread)?;
        entered.recv().expect("the thread reports before anything else")?;
        Ok(thread)
    }

    /// Runs `closure` as [`Host::enter`] does and waits for it; a panic in it goes on here.
    ///
    /// # Errors
    /// If the namespace is gone or the kernel refuses; then `closure` did not run.
    pub fn within<T: Send>(&self, closure: impl FnOnce() -> T + Send) -> Result<T, EnterError> {
        within(&self.namespace, closure)
    }

    /// Asks `http://<to><path>` from this host, without TLS: the status and the body.
    ///
    /// # Errors
    /// If there is no answer within 5 s.
    pub fn fetch(&self, to: SocketAddr, path: &str) -> Result<(u16, String), FetchError> {
        let answered = self.block_on(async { timeout(FETCH, fetch(to, path)).await })?;
        Ok(answered.map_err(|_elapsed| FetchError::Timeout { after: FETCH })??)
    }

    /// Runs `future` to its end on this host, on a runtime of its own.
    ///
    /// # Errors
    /// If the namespace is gone or the kernel refuses; then `future` was not polled.
    pub fn block_on<T: Send>(
        &self,
        future: impl Future<Output = T> + Send,
    ) -> Result<T, EnterError> {
        self.within(|| Ok(runtime()?.block_on(future)))?
    }
}

/// Why a host got no answer.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The host could not be entered.
    #[error("could not enter the host")]
    Enter(#[from] EnterError),
    /// The request got no answer.
    #[error("could not fetch")]
    Https(#[from] HttpsError),
    /// The answer did not come in time.
    #[error("no answer within {after:?}")]
    Timeout {
        /// How long it was waited for.
        after: Duration,
    },
}

/// A runtime of one thread, the calling one: tasks that it starts are where that is.
pub(crate) fn runtime() -> Result<Runtime, EnterError> {
    Builder::new_current_thread().enable_all().build().map_err(EnterError::Runtime)
}

pub(crate) fn within<T: Send>(
    namespace: &str,
    closure: impl FnOnce() -> T + Send,
) -> Result<T, EnterError> {
    let namespace = Namespace::open(namespace)?;
    let joined =
        thread::scope(|scope| scope.spawn(move || namespace.enter().map(|()| closure())).join());
    joined.unwrap_or_else(|panic| resume_unwind(panic))
}

struct Namespace {
    name: String,
    file: File,
}

impl Namespace {
    fn open(name: &str) -> Result<Self, EnterError> {
        let file = File::open(Path::new(NAMESPACES).join(name))
            .map_err(|source| EnterError::Gone { namespace: name.to_owned(), source })?;
        Ok(Self { name: name.to_owned(), file })
    }

    fn enter(self) -> Result<(), EnterError> {
        move_into_link_name_space(self.file.as_fd(), Some(LinkNameSpaceType::Network)).map_err(
            |error| EnterError::Move { namespace: self.name, source: io::Error::from(error) },
        )
    }
}

/// The word after another.
fn after(text: &str, word: &str) -> Option<String> {
    text.split_whitespace().skip_while(|here| *here != word).nth(1).map(str::to_owned)
}

/// What a command is before it becomes its program: `sh -c BECOME sh <our pid> <host> PROGRAM`.
///
/// If this process died before the kernel was told to send the signal of its death, none comes;
/// but then the parent is another. The name of the host is what kube-apiserver, and a balancer
/// that elects an owner, tell the members apart by.
const BECOME: &str = r#"
if [ "$PPID" != "$1" ]; then echo "who ran this is gone" >&2; exit 1; fi
echo "$2" > /proc/sys/kernel/hostname || exit 1
shift 2
exec "$@"
"#;

const FETCH: Duration = Duration::from_secs(5);
