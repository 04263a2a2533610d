//! The control plane, a host for each balancer before it, and one for the clients.
//!
//! ```text
//! client ---> lb-1 ... lb-5   one balancer each :6443 ---> cp-1 cp-2 cp-3
//!    \------------------------ ticks, directly ------------^
//! ```
//!
//! A balancer is started for one sample and ended after it, so that none remembers what the last
//! fault was, and none has a host on which another was before.

use std::collections::BTreeMap;
use std::time::Duration;

use evenkeel_testbed::{ControlPlane, Host, Load, LoadOptions, Member, Network, Options, require};
use tokio::time::Instant;

use crate::balancer::{Balancer, Programs, Running};
use crate::held;
use crate::quiet;
use crate::sample::{Sample, Subject, Times};
use evenkeel_bench::burn::Burners;
use evenkeel_bench::failed::{Doing, Failed, in_one_line};
use evenkeel_bench::pause::pause;

/// Dropped, it takes everything with it, in this order.
#[derive(Debug)]
pub(crate) struct Site {
    plane: ControlPlane,
    client: Host,
    hosts: BTreeMap<Balancer, Host>,
    _network: Network,
    programs: Programs,
}

/// Why there is no sample.
#[derive(Debug)]
pub(crate) enum NotTaken {
    /// The clients did not come to rest before the fault, so it was not inflicted.
    Unsteady(String),
    /// The bench cannot go on.
    Failed(Failed),
}

impl From<Failed> for NotTaken {
    fn from(failed: Failed) -> Self {
        Self::Failed(failed)
    }
}

/// How a sample is taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    /// How long the clients go on after the fault.
    pub(crate) observe: Duration,
    /// How many processes keep each CPU busy meanwhile.
    pub(crate) busy: usize,
}

impl Site {
    /// Starts it, with hosts for some balancers.
    pub(crate) fn start(balancers: &[Balancer], programs: &Programs) -> Result<Self, Failed> {
        let assets = require().doing(|| "run a control plane on this machine")?;
        let network = Network::new().doing(|| "make a network")?;
        let client = network.host("client").doing(|| "make a host")?;
        let mut hosts = BTreeMap::new();
        for (number, balancer) in (1..).zip(balancers) {
            let number: usize = number;
            let host = network.host(&format!("lb-{number}")).doing(|| "make a host")?;
            hosts.insert(*balancer, host);
        }
        let extra_sans = hosts.values().map(|host| host.ipv4().to_string()).collect();
        let options = Options { extra_sans, ..Options::default() };
        let plane =
            ControlPlane::start(&network, &assets, &options).doing(|| "start the control plane")?;
        Ok(Self { plane, client, hosts, _network: network, programs: programs.clone() })
    }

    /// Takes one sample, and leaves the members as it found them.
    pub(crate) fn sample(&mut self, subject: Subject, manner: Manner) -> Result<Sample, NotTaken> {
        let Subject { balancer, fault, .. } = subject;
        let victim = subject.victim();
        if manner.busy == 0 {
            quiet::wait(REST)?;
        }
        self.plane
            .move_etcd_leader_away_from(victim)
            .doing(|| "move the lead of etcd away from who is to fail")?;
        let running = self.start_balancer(balancer)?;
        let load = self.load(balancer, subject.ticker(), manner.observe)?;
        let burners = self.burn(manner.busy)?;
        pause(STEADY)?;
        let held = held::by_member(&self.plane, self.host(balancer)?.ipv4())?;
        if held.iter().any(|held| *held < ENOUGH) {
            return Err(NotTaken::Unsteady(format!("the members have {held:?} connections")));
        }
        let told_before = running.told()?;

        let began = Instant::now();
        fault.inflict(&mut self.plane, victim)?;
        let done = Instant::now();
        pause(manner.observe)?;
        let ended = Instant::now();

        let felt = load.stop().doing(|| "hear what the clients felt");
        drop(burners);
        let ended_early = running.ended();
        let told = running.told();
        drop(running);
        fault.undo(&mut self.plane, victim)?;
        if let Some(failed) = ended_early {
            return Err(failed.into());
        }
        let told = told?.zip(told_before).map(|(now, before)| now.since(&before));
        Ok(Sample::new(subject, held, Times { began, done, ended }, &felt?, told))
    }

    /// Starts a balancer and waits until it serves, and has had the time to see all members.
    pub(crate) fn start_balancer(&self, balancer: Balancer) -> Result<Running, NotTaken> {
        let running = balancer.start(self.host(balancer)?, &self.plane, &self.programs)?;
        let usual = self.options(balancer, Member::One)?;
        // One new connection after the other, until the first is answered.
        let options = LoadOptions { kept: 0, watches: 0, ..usual };
        let served = Load::start(&self.client, self.plane.admin(), options);
        if let Some(failed) = running.ended() {
            return Err(failed.into());
        }
        match served {
            Ok(load) => drop(load),
            Err(error) => return Err(NotTaken::Unsteady(in_one_line(&error))),
        }
        pause(SETTLED)?;
        Ok(running)
    }

    /// Starts the clients before a balancer, and waits until each has been answered.
    pub(crate) fn load(
        &self,
        balancer: Balancer,
        ticker: Member,
        observe: Duration,
    ) -> Result<Load, NotTaken> {
        let usual = self.options(balancer, ticker)?;
        // Who ends a silence is the balancer, never the client.
        let options =
            LoadOptions { kept: CLIENTS, watches: CLIENTS, kept_timeout: observe * 2, ..usual };
        Load::start(&self.client, self.plane.admin(), options)
            .map_err(|error| NotTaken::Unsteady(in_one_line(&error)))
    }

    /// Keeps each CPU busy with so many processes.
    pub(crate) fn burn(&self, each: usize) -> Result<Burners, Failed> {
        Burners::start(each, &self.client)
    }

    fn options(&self, balancer: Balancer, ticker: Member) -> Result<LoadOptions, Failed> {
        let server = Balancer::address(self.host(balancer)?);
        Ok(LoadOptions::new(server, self.plane.address(ticker)))
    }

    fn host(&self, balancer: Balancer) -> Result<&Host, Failed> {
        self.hosts
            .get(&balancer)
            .ok_or_else(|| Failed::because("find a host", format!("{} has none", balancer.name())))
    }
}

/// Kept connections, and watches: the usual load has ten of each, the issue nine, three a member.
const CLIENTS: usize = 9;
/// Of these eighteen a member must have some, or its fault would say nothing. One more may be a
/// check, and one a new connection.
const ENOUGH: usize = 4;
/// How long the clients go on before a fault.
const STEADY: Duration = Duration::from_secs(2);
/// How long a balancer that serves may take to see the other members too.
const SETTLED: Duration = Duration::from_secs(1);
/// How long the machine may take to come to rest.
const REST: Duration = Duration::from_secs(15);
