//! What can befall a member, and what undoes it.

use std::time::Duration;

use super::{ControlPlane, Member, StartError};
use crate::ip::IpError;
use crate::process::{Process, ProcessError};

/// Why a member was not treated as asked.
#[derive(Debug, thiserror::Error)]
pub enum ControlPlaneError {
    /// There is no process to treat.
    #[error("{member} runs no {program}")]
    NotRunning {
        /// Which member.
        member: Member,
        /// `kube-apiserver` or `etcd`.
        program: &'static str,
    },
    /// The process did not take the signal, or did not end.
    #[error("could not treat the process of {member}")]
    Process {
        /// Which member.
        member: Member,
        /// Why not.
        source: ProcessError,
    },
    /// The link of the host did not change.
    #[error("could not change the link of {member}")]
    Link {
        /// Which member.
        member: Member,
        /// Why not.
        source: IpError,
    },
}

impl ControlPlane {
    /// Whether the kube-apiserver of a member runs; a frozen one does.
    pub fn is_running(&self, member: Member) -> bool {
        self.node(member).apiserver().is_some_and(Process::is_running)
    }

    /// Kills kube-apiserver (`SIGKILL`): its kernel resets what is open and refuses the rest.
    ///
    /// # Errors
    /// If it does not run.
    pub fn kill(&mut self, member: Member) -> Result<(), ControlPlaneError> {
        let mut apiserver = self.take_apiserver(member)?;
        apiserver.kill().map(drop).map_err(|source| ControlPlaneError::Process { member, source })
    }

    /// Asks kube-apiserver to end (`SIGTERM`) and does not wait: see
    /// [`ControlPlane::wait_exit`]. It leaves the EndpointSlice at once.
    ///
    /// # Errors
    /// If it does not run.
    pub fn terminate(&self, member: Member) -> Result<(), ControlPlaneError> {
        let apiserver = self.apiserver(member)?;
        apiserver.terminate().map_err(|source| ControlPlaneError::Process { member, source })
    }

    /// Waits until kube-apiserver has ended, at most `limit`.
    ///
    /// Open requests hold it for up to 60 s, and watches for as long as they last in these.
    ///
    /// # Errors
    /// If it still runs; then it goes on running.
    pub fn wait_exit(&mut self, member: Member, limit: Duration) -> Result<(), ControlPlaneError> {
        let mut apiserver = self.take_apiserver(member)?;
        let ended = apiserver.wait_exit(limit);
        if ended.is_err() {
            self.node_mut(member).give_apiserver(apiserver);
        }
        ended.map(drop).map_err(|source| ControlPlaneError::Process { member, source })
    }

    /// Takes a member out as an operator does: `SIGTERM`, and waits at most 75 s for its end.
    ///
    /// # Errors
    /// If it does not run or does not end.
    pub fn remove_member(&mut self, member: Member) -> Result<(), ControlPlaneError> {
        self.terminate(member)?;
        self.wait_exit(member, GRACEFUL)
    }

    /// Starts kube-apiserver, the first time or again, and waits until it is ready.
    ///
    /// # Errors
    /// If it does not start, or is not ready within 90 s.
    pub fn start_member(&mut self, member: Member) -> Result<(), StartError> {
        self.launch(member)?;
        self.wait_ready(member, super::START)
    }

    /// Starts kube-apiserver and does not wait.
    ///
    /// # Errors
    /// If it does not start.
    pub fn launch(&mut self, member: Member) -> Result<(), StartError> {
        Ok(self.node_mut(member).start_apiserver()?)
    }

    /// Waits until `/readyz` of a member says 200, at most `limit`.
    ///
    /// # Errors
    /// If it does not, or its etcd or kube-apiserver has ended.
    pub fn wait_ready(&self, member: Member, limit: Duration) -> Result<(), StartError> {
        self.node(member).wait_ready(&self.admin, limit)
    }

    /// Stops kube-apiserver where it is (`SIGSTOP`): its kernel accepts, it answers nothing.
    ///
    /// # Errors
    /// If it does not run.
    pub fn freeze(&self, member: Member) -> Result<(), ControlPlaneError> {
        let apiserver = self.apiserver(member)?;
        apiserver.freeze().map_err(|source| ControlPlaneError::Process { member, source })
    }

    /// Lets kube-apiserver go on (`SIGCONT`).
    ///
    /// # Errors
    /// If it does not run.
    pub fn thaw(&self, member: Member) -> Result<(), ControlPlaneError> {
        let apiserver = self.apiserver(member)?;
        apiserver.thaw().map_err(|source| ControlPlaneError::Process { member, source })
    }

    /// Stops etcd and kube-apiserver of a member.
    ///
    /// # Errors
    /// If one does not run.
    pub fn freeze_host(&self, member: Member) -> Result<(), ControlPlaneError> {
        self.freeze_etcd(member)?;
        self.freeze(member)
    }

    /// Lets etcd and kube-apiserver of a member go on.
    ///
    /// # Errors
    /// If one does not run.
    pub fn thaw_host(&self, member: Member) -> Result<(), ControlPlaneError> {
        self.thaw_etcd(member)?;
        self.thaw(member)
    }

    /// Stops the etcd of a member: its kube-apiserver becomes unready. With two of them stopped,
    /// the cluster has lost its quorum.
    ///
    /// # Errors
    /// If it does not run.
    pub fn freeze_etcd(&self, member: Member) -> Result<(), ControlPlaneError> {
        let etcd = self.etcd(member)?;
        etcd.freeze().map_err(|source| ControlPlaneError::Process { member, source })
    }

    /// Lets the etcd of a member go on.
    ///
    /// # Errors
    /// If it does not run.
    pub fn thaw_etcd(&self, member: Member) -> Result<(), ControlPlaneError> {
        let etcd = self.etcd(member)?;
        etcd.thaw().map_err(|source| ControlPlaneError::Process { member, source })
    }

    /// Unplugs the host of a member, its etcd with it: see [`Host::cut`](crate::Host::cut).
    ///
    /// # Errors
    /// If `ip` refuses.
    pub fn cut(&self, member: Member) -> Result<(), ControlPlaneError> {
        self.host(member).cut().map_err(|source| ControlPlaneError::Link { member, source })
    }

    /// Plugs the host of a member in again.
    ///
    /// # Errors
    /// If `ip` refuses.
    pub fn heal(&self, member: Member) -> Result<(), ControlPlaneError> {
        self.host(member).heal().map_err(|source| ControlPlaneError::Link { member, source })
    }

    fn apiserver(&self, member: Member) -> Result<&Process, ControlPlaneError> {
        let program = "kube-apiserver";
        self.node(member).apiserver().ok_or(ControlPlaneError::NotRunning { member, program })
    }

    fn take_apiserver(&mut self, member: Member) -> Result<Process, ControlPlaneError> {
        let program = "kube-apiserver";
        let apiserver = self.node_mut(member).take_apiserver();
        apiserver.ok_or(ControlPlaneError::NotRunning { member, program })
    }

    fn etcd(&self, member: Member) -> Result<&Process, ControlPlaneError> {
        let program = "etcd";
        self.node(member).etcd().ok_or(ControlPlaneError::NotRunning { member, program })
    }
}

/// kube-apiserver waits up to 60 s for open requests.
const GRACEFUL: Duration = Duration::from_secs(75);
