//! What a test may choose of a control plane.

use std::fmt;
use std::time::Duration;

/// One of the three members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Member {
    /// `cp-1`.
    One,
    /// `cp-2`.
    Two,
    /// `cp-3`.
    Three,
}

impl Member {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::One, Self::Two, Self::Three];

    /// Its number, from 1.
    pub fn number(self) -> u8 {
        match self {
            Self::One => 1,
            Self::Two => 2,
            Self::Three => 3,
        }
    }

    /// The two others.
    pub fn others(self) -> [Self; 2] {
        match self {
            Self::One => [Self::Two, Self::Three],
            Self::Two => [Self::One, Self::Three],
            Self::Three => [Self::One, Self::Two],
        }
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "member {}", self.number())
    }
}

/// How a control plane is to be. The default is that of kubeadm, as far as a client can tell.
#[derive(Clone, Debug)]
pub struct Options {
    /// The members that run kube-apiserver from the start; etcd runs on all. Default: all.
    pub apiservers: Vec<Member>,
    /// Whether requests without credentials are served: `--anonymous-auth`. Default: yes.
    pub anonymous: bool,
    /// How long kube-apiserver serves on after SIGTERM: `--shutdown-delay-duration`. Default: 0.
    pub shutdown_delay: Duration,
    /// More names and addresses that the certificates are good for, such as the balancer's.
    pub extra_sans: Vec<String>,
    /// More flags for every kube-apiserver; they are last, hence win.
    pub apiserver_flags: Vec<String>,
    /// What the names of its hosts begin with: `cp` makes `cp-1` to `cp-3`. A second control
    /// plane on the same network, which is foreign to the first, needs another. Default: `cp`.
    pub name: String,
    /// The number of its first host: 11 makes `10.0.0.11` to `10.0.0.13`. Default: 11.
    pub first_number: u8,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            apiservers: Member::ALL.to_vec(),
            anonymous: true,
            shutdown_delay: Duration::ZERO,
            extra_sans: Vec::new(),
            apiserver_flags: Vec::new(),
            name: "cp".to_owned(),
            first_number: 11,
        }
    }
}
