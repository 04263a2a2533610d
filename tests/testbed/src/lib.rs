//! Hosts, a real Kubernetes control plane on them, and clients that say what they felt.
//!
//! A [`Network`] is one switch; each of its [`Host`]s is a network namespace with an address on
//! it. [`ControlPlane`] runs etcd and kube-apiserver on three of them; [`Load`] is what clients
//! do meanwhile, and [`Felt`] what became of it. A test cuts, freezes and kills in between.
//!
//! It needs root, the program `ip`, and Go or a directory with the Kubernetes binaries; a
//! [`Filter`] needs `nft`. What is missing is a [`Missing`]; [`or_skip`] turns it into a skipped test, or into a failed one where
//! `CI=true`.
//!
//! Invariants:
//! - Nothing outlives the test. Namespaces, processes and files go on drop, hence also in a
//!   panic; a test process that is killed takes its children with it (see [`Process`]), and the
//!   next [`Network`] removes the namespaces and files it left.
//! - What belongs to a test process carries its pid in its name. Nothing else is touched.
//! - Every wait has a bound.

mod adverts;
mod assets;
mod certificates;
mod control_plane;
mod filter;
mod holders;
mod host;
mod https;
mod ip;
mod leftovers;
mod load;
mod network;
mod plain;
mod process;
mod requirements;

pub use adverts::{Advert, Adverts};
pub use assets::{Assets, BuildError, Program};
pub use certificates::{CertificateError, Credentials, User};
pub use control_plane::{
    ControlPlane, ControlPlaneError, EtcdError, KubectlError, Member, MembershipError, Options,
    StartError,
};
pub use filter::{Filter, FilterError};
pub use holders::{Held, Holders, HoldersError};
pub use host::{EnterError, FetchError, Host, KernelError};
pub use https::{HttpsError, Identity, IdentityError};
pub use ip::IpError;
pub use load::{Attempt, Failure, Felt, Kept, Load, LoadError, LoadOptions, Signs, Ticks, Watched};
pub use network::{Network, NetworkError};
pub use plain::{Greeter, Knock, Knocks, PlainError, Stays};
pub use process::{Process, ProcessError};
pub use requirements::{
    Missing, or_skip, require, require_filters, require_network, require_program,
};
