//! The scheduling policy of the calling thread: sched(7).
//!
//! One of the two files of the project with `unsafe` in them: no library sets a policy.
#![expect(unsafe_code, reason = "sched_setscheduler(2), which no safe library has")]

use std::io;

/// A policy that needs no privilege, with static priority 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    /// `SCHED_OTHER`.
    Normal,
    /// `SCHED_BATCH`: woken, it does not push aside who runs.
    Batch,
}

impl Policy {
    /// That of the calling thread. None: it is another one, or the kernel does not say.
    pub(crate) fn now() -> Option<Self> {
        // SAFETY: it takes a number and touches no memory of ours; 0 is the calling thread.
        let policy = unsafe { libc::syscall(libc::SYS_sched_getscheduler, 0) };
        [Self::Normal, Self::Batch].into_iter().find(|known| i64::from(known.number()) == policy)
    }

    /// Makes it that of the calling thread.
    ///
    /// # Errors
    /// `EPERM` where a filter of system calls forbids it.
    pub(crate) fn set(self) -> io::Result<()> {
        let priority = libc::sched_param { sched_priority: 0 };
        // By number, since musl's function of that name always fails.
        // SAFETY: the kernel reads one `sched_param`, which lives as long as the call.
        let set = unsafe {
            libc::syscall(libc::SYS_sched_setscheduler, 0, self.number(), &raw const priority)
        };
        if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    fn number(self) -> libc::c_int {
        match self {
            Self::Normal => libc::SCHED_OTHER,
            Self::Batch => libc::SCHED_BATCH,
        }
    }
}
