//! The closed set of what befalls a member, and what undoes it.

use std::time::Duration;

use evenkeel_testbed::{ControlPlane, Member};

use evenkeel_bench::failed::{Doing, Failed};

/// What befalls a member.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Fault {
    /// Its kube-apiserver is killed: the kernel resets what is open and refuses the rest.
    Killed,
    /// Its kube-apiserver is asked to end, and has no shutdown delay, as kubeadm leaves it.
    Terminated,
    /// Its host is unplugged: nothing is refused, nothing is reset, nothing is answered.
    Cut,
    /// Its kube-apiserver is stopped where it is: the kernel accepts, nothing is answered.
    Frozen,
}

impl Fault {
    /// All, in the order of the table.
    pub(crate) const ALL: [Self; 4] = [Self::Killed, Self::Terminated, Self::Cut, Self::Frozen];

    /// What `--only` calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Killed => "killed",
            Self::Terminated => "terminated",
            Self::Cut => "cut",
            Self::Frozen => "frozen",
        }
    }

    /// What it is, for who reads the table.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Killed => "apiserver killed (SIGKILL)",
            Self::Terminated => "graceful termination (SIGTERM, no shutdown delay)",
            Self::Cut => "host cut off (no RST)",
            Self::Frozen => "apiserver frozen (SIGSTOP)",
        }
    }

    /// The fault of that name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|fault| fault.name() == name)
    }

    /// Whether nobody is told of it: no connection ends, none is refused.
    pub(crate) fn is_silent(self) -> bool {
        match self {
            Self::Killed | Self::Terminated => false,
            Self::Cut | Self::Frozen => true,
        }
    }

    /// Lets it befall a member.
    pub(crate) fn inflict(self, plane: &mut ControlPlane, victim: Member) -> Result<(), Failed> {
        let inflicted = match self {
            Self::Killed => plane.kill(victim),
            Self::Terminated => plane.terminate(victim),
            Self::Cut => plane.cut(victim),
            Self::Frozen => plane.freeze(victim),
        };
        inflicted.doing(|| format!("inflict the fault `{}`", self.name()))
    }

    /// Undoes it, and waits until the member is ready again.
    pub(crate) fn undo(self, plane: &mut ControlPlane, victim: Member) -> Result<(), Failed> {
        let doing = || format!("undo the fault `{}`", self.name());
        match self {
            Self::Killed => plane.start_member(victim).doing(doing),
            Self::Terminated => {
                plane.wait_exit(victim, GRACEFUL).doing(doing)?;
                plane.start_member(victim).doing(doing)
            }
            Self::Cut => {
                plane.heal(victim).doing(doing)?;
                plane.wait_ready(victim, AGAIN).doing(doing)
            }
            Self::Frozen => {
                plane.thaw(victim).doing(doing)?;
                plane.wait_ready(victim, AGAIN).doing(doing)
            }
        }
    }
}

/// kube-apiserver waits up to 60 s for open requests.
const GRACEFUL: Duration = Duration::from_secs(75);
/// How long a member may take that was away, its etcd too.
const AGAIN: Duration = Duration::from_secs(90);
