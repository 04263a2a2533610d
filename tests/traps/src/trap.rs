//! The traps, each with its check in a file of its own or with its kin.

mod backends;
mod burst;
mod descriptors;
mod fairness;
mod half_close;
mod herd;
mod latency;
mod mixing;
mod pipes;
mod ports;
mod reset;
mod segments;
mod stall;
mod urgent;

use std::fmt;

use crate::namespace;
use crate::rig::Rig;
use crate::verdict::{Failure, NotChecked, Verdict};

/// Something that a TCP proxy gets wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trap {
    /// Splice stops at the urgent mark and says nothing about it.
    UrgentMark,
    /// A receiver that takes nothing: spinning, and memory without a bound.
    StalledReader,
    /// A pipe holds packets and not bytes.
    SmallPackets,
    /// What a reset connection left in a pooled pipe or buffer.
    Mixing,
    /// New pipes are small once a user has many.
    PipeLimit,
    /// A last piece that waits for more.
    DelayedByte,
    /// An end that comes with the bytes before it.
    EndInBurst,
    /// A FIN that overtakes, or takes the other direction with it.
    HalfClose,
    /// A client's reset that is passed on as a proper end, or not at all.
    ClientReset,
    /// A backend's reset that is passed on as a proper end, or not at all.
    BackendReset,
    /// A reset that is passed on before the bytes that came before it.
    AnswerBeforeReset,
    /// A failed write that is taken for the end of both directions.
    AnswerToUnfinishedUpload,
    /// Bulk that keeps small messages waiting.
    Fairness,
    /// A backend that refuses, beside one that serves.
    RefusedBackend,
    /// No backend that accepts.
    NoBackend,
    /// A backend that does not answer, beside one that serves.
    SilentBackend,
    /// A backend that answers late.
    LateBackend,
    /// No descriptor for an accepted connection.
    Descriptors,
    /// No local port for a connection to the backend.
    LocalPorts,
    /// A herd of clients while the proxy shuts down.
    Shutdown,
}

impl Trap {
    /// All, in the order of what they are about: bytes, ends, backends, limits.
    pub const ALL: [Self; 20] = [
        Self::UrgentMark,
        Self::StalledReader,
        Self::SmallPackets,
        Self::Mixing,
        Self::PipeLimit,
        Self::DelayedByte,
        Self::EndInBurst,
        Self::HalfClose,
        Self::ClientReset,
        Self::BackendReset,
        Self::AnswerBeforeReset,
        Self::AnswerToUnfinishedUpload,
        Self::Fairness,
        Self::RefusedBackend,
        Self::NoBackend,
        Self::SilentBackend,
        Self::LateBackend,
        Self::Descriptors,
        Self::LocalPorts,
        Self::Shutdown,
    ];

    /// Its name on a command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::UrgentMark => "urgent-mark",
            Self::StalledReader => "stalled-reader",
            Self::SmallPackets => "small-packets",
            Self::Mixing => "mixing",
            Self::PipeLimit => "pipe-limit",
            Self::DelayedByte => "delayed-byte",
            Self::EndInBurst => "end-in-burst",
            Self::HalfClose => "half-close",
            Self::ClientReset => "client-reset",
            Self::BackendReset => "backend-reset",
            Self::AnswerBeforeReset => "answer-before-reset",
            Self::AnswerToUnfinishedUpload => "answer-to-unfinished-upload",
            Self::Fairness => "fairness",
            Self::RefusedBackend => "refused-backend",
            Self::NoBackend => "no-backend",
            Self::SilentBackend => "silent-backend",
            Self::LateBackend => "late-backend",
            Self::Descriptors => "descriptors",
            Self::LocalPorts => "local-ports",
            Self::Shutdown => "shutdown",
        }
    }

    /// What must hold.
    pub fn must_hold(self) -> &'static str {
        match self {
            Self::UrgentMark => {
                "a byte behind an urgent mark arrives at once, costs no CPU, and the end follows"
            }
            Self::StalledReader => {
                "who takes nothing costs no CPU and no memory, and gets every byte later"
            }
            Self::SmallPackets => "bulk in small packets arrives whole",
            Self::Mixing => "no byte of a reset connection reaches another",
            Self::PipeLimit => "a user without pipes to spare is served all the same",
            Self::DelayedByte => "a byte after bulk is not kept waiting",
            Self::EndInBurst => "an end in one burst with bytes is seen within a second",
            Self::HalfClose => "the end of one direction comes last in it and leaves the other",
            Self::ClientReset => "a client's reset reaches the backend as a reset",
            Self::BackendReset => "a backend's reset reaches the client as a reset",
            Self::AnswerBeforeReset => "what was sent before a reset arrives before it",
            Self::AnswerToUnfinishedUpload => "an answer to half an upload arrives",
            Self::Fairness => "bulk beside it keeps no small message waiting, on one thread",
            Self::RefusedBackend => "no client notices that a backend refuses",
            Self::NoBackend => "without a backend a client is told within a second",
            Self::SilentBackend => "a backend that does not answer costs no client more than a try",
            Self::LateBackend => "a backend that accepts late serves all the same",
            Self::Descriptors => "without descriptors it neither spins nor sleeps",
            Self::LocalPorts => {
                "without a local port a client is told, and served once there is one"
            }
            Self::Shutdown => "during a graceful shutdown each client is served or told",
        }
    }

    /// Runs the check against a proxy that is started for it.
    ///
    /// As root it runs in a network namespace of its own, as a few of them must.
    ///
    /// # Errors
    /// If it says nothing about the proxy: the machine lacks something, the proxy does not run
    /// under such conditions, or the trap is none for its kind.
    pub fn check(self, rig: &Rig) -> Result<Verdict, NotChecked> {
        let checked = if self.needs_namespace() || namespace::is_possible() {
            namespace::within(|| self.run(rig))?
        } else {
            self.run(rig)
        };
        match checked {
            Ok(observed) => Ok(Verdict { held: true, observed }),
            Err(Failure::Observed(observed)) => Ok(Verdict { held: false, observed }),
            Err(Failure::NotChecked(why)) => Err(why),
        }
    }

    /// Whether it changes what a whole network namespace has, or needs root anyway.
    fn needs_namespace(self) -> bool {
        match self {
            Self::SmallPackets | Self::PipeLimit | Self::LocalPorts => true,
            Self::UrgentMark
            | Self::StalledReader
            | Self::Mixing
            | Self::DelayedByte
            | Self::EndInBurst
            | Self::HalfClose
            | Self::ClientReset
            | Self::BackendReset
            | Self::AnswerBeforeReset
            | Self::AnswerToUnfinishedUpload
            | Self::Fairness
            | Self::RefusedBackend
            | Self::NoBackend
            | Self::SilentBackend
            | Self::LateBackend
            | Self::Descriptors
            | Self::Shutdown => false,
        }
    }

    /// What was observed where it holds.
    fn run(self, rig: &Rig) -> Result<String, Failure> {
        match self {
            Self::UrgentMark => urgent::check(rig),
            Self::StalledReader => stall::check(rig),
            Self::SmallPackets => segments::check(rig),
            Self::Mixing => mixing::check(rig),
            Self::PipeLimit => pipes::check(rig),
            Self::DelayedByte => latency::check(rig),
            Self::EndInBurst => burst::check(rig),
            Self::HalfClose => half_close::check(rig),
            Self::ClientReset => reset::of_client(rig),
            Self::BackendReset => reset::of_backend(rig),
            Self::AnswerBeforeReset => reset::after_answer(rig),
            Self::AnswerToUnfinishedUpload => reset::during_upload(rig),
            Self::Fairness => fairness::check(rig),
            Self::RefusedBackend => backends::refused(rig),
            Self::NoBackend => backends::none(rig),
            Self::SilentBackend => backends::silent(rig),
            Self::LateBackend => backends::late(rig),
            Self::Descriptors => descriptors::check(rig),
            Self::LocalPorts => ports::check(rig),
            Self::Shutdown => herd::check(rig),
        }
    }
}

impl fmt::Display for Trap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// So much that a proxy that splices bulk does so, with some of it to spare.
const BULK: usize = 8 << 20;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_has_a_name_and_a_sentence_of_its_own() {
        let names: BTreeSet<_> = Trap::ALL.map(Trap::name).into();
        let sentences: BTreeSet<_> = Trap::ALL.map(Trap::must_hold).into();
        assert_eq!((names.len(), sentences.len()), (Trap::ALL.len(), Trap::ALL.len()));
    }
}
