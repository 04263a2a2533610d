//! Three routers and a client on one switch, made for one sample and removed after it: no kernel
//! remembers what the last fault was.
//!
//! ```text
//!   router-1   router-2   router-3   client        10.0.0.100 and fd00::100 on one router
//!   holder     holder     holder     new connections, kept connections
//!   server     server     server
//!       \__________\__________\________\___ switch
//! ```
//!
//! The first holder is started alone, so the owner is router-1, then the others.

use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use evenkeel_testbed::{Filter, Host, Network, Process};
use rustix::process::Signal;
use tokio::time::Instant;

use crate::args::Args;
use crate::holder::{Holder, Programs, Running};
use crate::kept::Kept;
use crate::owners::Watcher;
use crate::prober::Prober;
use crate::row::{Fault, Port, ROUTERS, Row};
use crate::sample::{Sample, Seen, Subject};
use crate::timeline::{Apart, Timeline};
use evenkeel_bench::burn::Burners;
use evenkeel_bench::failed::{Doing, Failed};
use evenkeel_bench::pause::pause;

/// Dropped, it takes everything with it, in this order.
#[derive(Debug)]
pub(crate) struct Site {
    running: Vec<Running>,
    servers: Vec<Process>,
    routers: Vec<Host>,
    client: Host,
    network: Network,
}

/// Why there is no sample.
#[derive(Debug)]
pub(crate) enum NotTaken {
    /// There was no single owner that served before the fault, so it was not inflicted.
    Unsteady(String),
    /// The bench cannot go on.
    Failed(Failed),
}

impl From<Failed> for NotTaken {
    fn from(failed: Failed) -> Self {
        Self::Failed(failed)
    }
}

impl Site {
    /// The network, and what serves on it.
    pub(crate) fn new(subject: Subject) -> Result<Self, Failed> {
        let Subject { row, holder, .. } = subject;
        let network = Network::new().doing(|| "make a network")?;
        let [first, second, third] = ROUTERS;
        let client = ("client", CLIENT);
        let order = match row.port {
            Port::First => [first, second, third, client],
            Port::Last => [second, third, client, first],
        };
        let mut hosts = Vec::new();
        for (name, number) in order {
            let host = network.host_at(name, number).doing(|| "make a host")?;
            host.forward(row.forwards).doing(|| "set up a host")?;
            hosts.push(host);
        }
        hosts.sort_by_key(Host::ipv4);
        let client = hosts.pop().ok_or_else(|| Failed::because("make a host", "none was"))?;
        let servers: Result<Vec<Process>, Failed> =
            hosts.iter().map(|host| holder.serve(host, &hosts)).collect();
        Ok(Self { running: Vec::new(), servers: servers?, routers: hosts, client, network })
    }

    /// Takes the one sample that it is for.
    pub(crate) fn sample(&mut self, subject: Subject, args: &Args) -> Result<Sample, NotTaken> {
        let Subject { row, holder, run } = subject;
        let service = row.family.service();
        let watcher = Watcher::start(&self.routers, row.family.vip())?;
        let prober = Prober::start(&self.client, service, row.resolver)?;
        self.start_holders(holder, &args.programs, &watcher)?;
        self.wait_steady(&watcher, &prober)?;
        let kept = Kept::start(&self.client, service)?;
        self.wait_steady(&watcher, &prober)?;
        pause(STEADY + phase(run))?;

        let befallen = self.inflict(row, holder, args, &watcher)?;
        pause(row.fault.lasts(args.load).after)?;

        let believes = match watcher.owners().as_slice() {
            [owner] => match self.routers.get(*owner) {
                Some(owner) => believes(&self.client, row.family.vip(), owner)?,
                None => None,
            },
            _ => None,
        };
        let (probed, spans) = (prober.stop()?, kept.stop()?);
        let until = Instant::now();
        let timeline = Timeline::new(watcher.stop(), until);
        let told = self.running.iter().filter_map(Running::told).collect();
        let Befallen { began, undone, disruptions, apart, flaw } = befallen;
        let flaw = flaw.or_else(|| self.ended_early(row.fault));
        let seen = Seen {
            began,
            undone,
            disruptions,
            apart,
            probed,
            spans,
            timeline,
            believes,
            told,
            flaw,
        };
        Ok(Sample::new(subject, seen))
    }

    /// Starts the first, and the others once it is the owner.
    fn start_holders(
        &mut self,
        holder: Holder,
        programs: &Programs,
        watcher: &Watcher,
    ) -> Result<(), NotTaken> {
        for (place, host) in self.routers.iter().enumerate() {
            self.running.push(holder.start(host, place, programs)?);
            if place == 0 {
                self.wait("its owner is router-1", || watcher.owners() == [0])?;
            }
        }
        // Long enough for one that would take it.
        pause(SETTLED)?;
        Ok(())
    }

    fn wait_steady(&self, watcher: &Watcher, prober: &Prober) -> Result<(), NotTaken> {
        self.wait("router-1 owns it alone and serves", || {
            watcher.owners() == [0] && prober.good_in_a_row() >= GOOD
        })
    }

    fn wait(&self, what: &str, is_so: impl Fn() -> bool) -> Result<(), NotTaken> {
        let end = Instant::now() + PATIENCE;
        while !is_so() {
            if let Some(ended) = self.running.iter().find_map(Running::ended) {
                return Err(NotTaken::Unsteady(ended));
            }
            if Instant::now() >= end {
                let logs: Vec<String> = self.running.iter().map(Running::log_tail).collect();
                let logs = logs.join("\n");
                return Err(NotTaken::Unsteady(format!("not within {PATIENCE:?}: {what}\n{logs}")));
            }
            pause(LOOK)?;
        }
        Ok(())
    }

    /// Lets the fault befall, for as long as it lasts, and undoes it.
    fn inflict(
        &mut self,
        row: Row,
        holder: Holder,
        args: &Args,
        watcher: &Watcher,
    ) -> Result<Befallen, Failed> {
        let lasts = row.fault.lasts(args.load).fault;
        let began = Instant::now();
        let mut befallen = Befallen::from(began);
        let lift = |filter: Filter| filter.lift().doing(|| "undo a fault");
        match row.fault {
            Fault::Planned => {
                self.first()?.terminate()?;
                pause(lasts)?;
                befallen.undone = Instant::now();
            }
            Fault::Rolling => self.restart_all(holder, &args.programs, watcher, &mut befallen)?,
            Fault::Silence => {
                let filter = self.network.silence(self.owner()?).doing(|| "silence a host")?;
                pause(lasts)?;
                befallen.undo(&[0]);
                lift(filter)?;
            }
            Fault::Carrier => {
                self.owner()?.cut().doing(|| "cut a host")?;
                pause(lasts)?;
                befallen.undo(&[0]);
                self.owner()?.heal().doing(|| "undo a fault")?;
            }
            Fault::Kill => {
                self.first()?.kill()?;
                if holder.owns_server() {
                    self.server()?.kill().doing(|| "kill a server")?;
                }
                pause(lasts)?;
                befallen.undone = Instant::now();
                // Nobody of its kind is there to hear.
                befallen.apart = vec![Apart { host: 0, from: began, to: None }];
            }
            Fault::Freeze => {
                self.signal_all(holder, Signal::STOP)?;
                pause(lasts)?;
                befallen.undo(&[0]);
                self.signal_all(holder, Signal::CONT)?;
            }
            Fault::Partition => {
                let others: Vec<&Host> =
                    self.routers.iter().skip(1).chain([&self.client]).collect();
                let filter = self.network.part(&[self.owner()?], &others);
                let filter = filter.doing(|| "part the hosts")?;
                pause(lasts)?;
                befallen.undo(&[0]);
                lift(filter)?;
            }
            Fault::Filtered => {
                let filter = self.network.forbid_vrrp().doing(|| "forbid VRRP")?;
                pause(lasts)?;
                befallen.undo(&[0, 1, 2]);
                lift(filter)?;
            }
            Fault::Load => {
                let burners = Burners::start(BUSY, &self.client)?;
                pause(lasts)?;
                befallen.undone = Instant::now();
                drop(burners);
            }
        }
        Ok(befallen)
    }

    /// Restarts one after the other, the first owner first.
    fn restart_all(
        &mut self,
        holder: Holder,
        programs: &Programs,
        watcher: &Watcher,
        befallen: &mut Befallen,
    ) -> Result<(), Failed> {
        befallen.disruptions.clear();
        let restarted = self.routers.iter().zip(&mut self.running).enumerate();
        for (place, (host, running)) in restarted {
            if watcher.owners().contains(&place) {
                befallen.disruptions.push(Instant::now());
            }
            running.terminate()?;
            if !running.wait(END)? {
                befallen.flaw = Some(format!("{} did not end within {END:?}", host.name()));
            }
            *running = holder.start(host, place, programs)?;
            pause(BETWEEN)?;
        }
        befallen.undone = Instant::now();
        Ok(())
    }

    fn signal_all(&self, holder: Holder, signal: Signal) -> Result<(), Failed> {
        let first = self.running.first();
        first.ok_or_else(nothing_there)?.signal(signal)?;
        if holder.owns_server() {
            let server = self.servers.first().ok_or_else(nothing_there)?;
            server.signal(signal).doing(|| "signal a server")?;
        }
        Ok(())
    }

    fn first(&mut self) -> Result<&mut Running, Failed> {
        self.running.first_mut().ok_or_else(nothing_there)
    }

    fn server(&mut self) -> Result<&mut Process, Failed> {
        self.servers.first_mut().ok_or_else(nothing_there)
    }

    fn owner(&self) -> Result<&Host, Failed> {
        self.routers.first().ok_or_else(nothing_there)
    }

    /// That one has ended which nobody has ended.
    fn ended_early(&self, fault: Fault) -> Option<String> {
        let first_may_end = match fault {
            Fault::Planned | Fault::Kill => 1,
            Fault::Rolling
            | Fault::Silence
            | Fault::Carrier
            | Fault::Freeze
            | Fault::Partition
            | Fault::Filtered
            | Fault::Load => 0,
        };
        self.running.iter().skip(first_may_end).find_map(Running::ended)
    }

    /// Copies what its processes wrote.
    pub(crate) fn keep_logs(&self, folder: &Path) -> Result<(), Failed> {
        let copy = || {
            fs::create_dir_all(folder)?;
            for entry in fs::read_dir(self.network.directory())? {
                let entry = entry?;
                fs::copy(entry.path(), folder.join(entry.file_name()))?;
            }
            Ok::<(), std::io::Error>(())
        };
        copy().doing(|| format!("keep the logs in {}", folder.display()))
    }
}

/// What was done when.
struct Befallen {
    began: Instant,
    undone: Instant,
    disruptions: Vec<Instant>,
    apart: Vec<Apart>,
    flaw: Option<String>,
}

impl Befallen {
    fn from(began: Instant) -> Self {
        Self { began, undone: began, disruptions: vec![began], apart: Vec::new(), flaw: None }
    }

    /// That it is undone now, and who heard nobody until now.
    fn undo(&mut self, apart: &[usize]) {
        let now = Instant::now();
        self.undone = now;
        let apart = apart.iter().map(|host| Apart { host: *host, from: self.began, to: Some(now) });
        self.apart = apart.collect();
    }
}

/// Whether a client believes that an address is at its owner. None: it does not know.
fn believes(client: &Host, vip: IpAddr, owner: &Host) -> Result<Option<bool>, Failed> {
    let believed = client.believes(vip).doing(|| "read the neighbours of a host")?;
    let owner = owner.mac().doing(|| "read the address of a host")?;
    Ok(believed.map(|believed| believed == owner))
}

fn nothing_there() -> Failed {
    Failed::because("find the owner", "there are no routers")
}

const CLIENT: u8 = 24;

/// Good connections one after the other that show that it serves: a second of them.
const GOOD: u32 = 50;
/// How long it may take until there is an owner that serves.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long one that starts may take to see that there is an owner, or to take it.
const SETTLED: Duration = Duration::from_millis(1500);
/// How long all go on before a fault.
const STEADY: Duration = Duration::from_secs(1);

/// A moment within a second, another one in each run and all over it: owners that speak ten times a
/// second since they were seen to own the address would else always meet the fault at the same time
/// after they have spoken.
fn phase(run: u32) -> Duration {
    let golden = 0.618_033_988_75_f64;
    Duration::from_secs_f64((f64::from(run) * golden).fract())
}
/// How long one may take to end that is asked to.
const END: Duration = Duration::from_secs(20);
/// The pause between two restarts; the defaults of keepalived need 3.6 s.
const BETWEEN: Duration = Duration::from_secs(5);
/// How many processes keep each CPU busy.
const BUSY: usize = 2;
const LOOK: Duration = Duration::from_millis(20);
