//! A hook that is a program, started for each call.
//!
//! It runs in a process group of its own. At the end of a call, however it ends, the whole group is
//! killed: nothing that a hook started outlives its call.

use std::collections::VecDeque;
use std::io;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use garde::Validate;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time;

use super::request::{ANSWER_LIMIT, NotAnOwner, Operation, Request, last_words, owner};

/// A program that moves the address: the key `exec`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Validate, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ExecHook {
    /// The program and its arguments; `acquire`, `release` or `owner` is put after them. There is
    /// no shell. It has this process's environment, and in it `EVENKEEL_VIP`, `EVENKEEL_NODE`,
    /// `EVENKEEL_EPOCH` and `EVENKEEL_DEADLINE_MS`.
    #[garde(length(min = 1), custom(names_a_program))]
    pub command: Vec<String>,
}

fn names_a_program<Context>(command: &[String], _context: &Context) -> garde::Result {
    if command.first().is_some_and(|program| program.trim().is_empty()) {
        return Err(garde::Error::new("`command` names no program"));
    }
    if command.iter().any(|word| word.contains('\0')) {
        return Err(garde::Error::new("`command` has a NUL byte"));
    }
    Ok(())
}

/// Why a call of a program failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExecError {
    /// It was not started.
    #[error("could not start {program}")]
    Start { program: String, source: io::Error },
    /// The kernel does not tell when it ends.
    #[error("could not wait for it")]
    Wait(#[source] io::Error),
    /// It did not end in time, and was killed.
    #[error("no end within {after:?}{}", and_said(.said.as_deref()))]
    Timeout { after: Duration, said: Option<String> },
    /// It says that it failed, or was killed.
    #[error("{status}{}", and_said(.said.as_deref()))]
    Failed { status: ExitStatus, said: Option<String> },
    /// The answer to `owner` is none.
    #[error(transparent)]
    Answer(#[from] NotAnOwner),
}

fn and_said(words: Option<&str>) -> String {
    words.map(|words| format!(": {words}")).unwrap_or_default()
}

/// What systemd gives this process and no other may have: a hook must not speak in our name.
const OURS_ALONE: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"];

/// How long after its end what a program wrote is still read. More can only come from a process
/// that has left the group.
const LAST_WORDS: Duration = Duration::from_millis(100);

impl ExecHook {
    /// Runs the program once. Dropped, it kills it.
    pub(super) async fn call(&self, request: &Request) -> Result<Option<String>, ExecError> {
        let mut running = self.start(request)?;
        let mut answer = Heard::new();
        let mut words = Heard::new();
        let after = Duration::from_millis(request.deadline_ms);
        let listening = running.listen(&mut answer, &mut words);
        let ended = match time::timeout(after, listening).await {
            Ok(ended) => Some(ended.map_err(ExecError::Wait)?),
            Err(_elapsed) => None,
        };
        let status = running.end().await.map_err(ExecError::Wait)?;
        let said = last_words(words.bytes.make_contiguous());
        if ended.is_none() {
            return Err(ExecError::Timeout { after, said });
        }
        if !status.success() {
            return Err(ExecError::Failed { status, said });
        }
        match request.operation {
            Operation::Owner if answer.cut => Err(NotAnOwner.into()),
            Operation::Owner => Ok(owner(answer.bytes.make_contiguous())?),
            Operation::Acquire | Operation::Release => Ok(None),
        }
    }

    fn start(&self, request: &Request) -> Result<Running, ExecError> {
        let (program, arguments) = match self.command.split_first() {
            Some((program, arguments)) => (program.as_str(), arguments),
            None => ("", &[][..]),
        };
        let mut command = Command::new(program);
        command
            .args(arguments)
            .arg(request.operation.as_str())
            .env("EVENKEEL_VIP", request.vip.to_string())
            .env("EVENKEEL_NODE", &request.node)
            .env("EVENKEEL_EPOCH", request.epoch.to_string())
            .env("EVENKEEL_DEADLINE_MS", request.deadline_ms.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        for name in OURS_ALONE {
            command.env_remove(name);
        }
        let child = command
            .spawn()
            .map_err(|source| ExecError::Start { program: program.to_owned(), source })?;
        Running::new(child).map_err(ExecError::Wait)
    }
}

/// A program that runs.
struct Running {
    // Killed before the child is dropped, and so before its number can be another's.
    group: Group,
    child: Child,
}

impl Running {
    fn new(child: Child) -> io::Result<Self> {
        let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::other("it has no process ID"))?;
        Ok(Self { group: Group { leader: Some(pid) }, child })
    }

    /// Reads what it writes until it has ended, and then kills what it left.
    async fn listen(&mut self, answer: &mut Heard, words: &mut Heard) -> io::Result<()> {
        let (stdout, stderr) = (self.child.stdout.take(), self.child.stderr.take());
        let mut reading = pin!(async {
            tokio::join!(answer.keep_first(stdout), words.keep_last(stderr));
        });
        let mut exited = pin!(self.group.leader_exited());
        let mut read = false;
        loop {
            tokio::select! {
                biased;
                exited = &mut exited => break exited?,
                () = &mut reading, if !read => read = true,
            }
        }
        self.group.kill();
        if !read {
            // Whether all was read or the time is up, it goes on with what is there.
            drop(time::timeout(LAST_WORDS, reading).await);
        }
        Ok(())
    }

    /// Kills it, if it still runs, and takes down how it ended.
    async fn end(mut self) -> io::Result<ExitStatus> {
        self.group.kill();
        let status = self.child.wait().await;
        // Its number is free now.
        self.group.leader = None;
        status
    }
}

/// A process group. Dropped, it is killed.
///
/// The number of a group is not given to another process while any of its processes is there, and
/// its leader is until we have waited for it. Hence `WNOWAIT`: the end is seen, and the number kept.
struct Group {
    leader: Option<Pid>,
}

impl Group {
    /// Returns when the leader has ended, and leaves it a zombie.
    async fn leader_exited(&self) -> io::Result<()> {
        let Some(leader) = self.leader else { return Ok(()) };
        // Listened to before the first look, so that no end comes between the two.
        let mut ends = signal(SignalKind::child())?;
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        while waitid(WaitId::Pid(leader), look)?.is_none() {
            if ends.recv().await.is_none() {
                return Err(io::Error::other("the runtime ends"));
            }
        }
        Ok(())
    }

    fn kill(&self) {
        if let Some(leader) = self.leader
            && let Err(error) = kill_process_group(leader, Signal::KILL)
        {
            tracing::debug!(error = &error as &dyn std::error::Error, "hook not killed");
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What came through a pipe: the first or the last of it.
struct Heard {
    bytes: VecDeque<u8>,
    /// Whether there was more.
    cut: bool,
}

impl Heard {
    fn new() -> Self {
        Self { bytes: VecDeque::new(), cut: false }
    }

    async fn keep_first(&mut self, pipe: Option<impl AsyncRead + Unpin>) {
        read_all(pipe, |chunk| {
            let (kept, left) = chunk.split_at(chunk.len().min(ANSWER_LIMIT - self.bytes.len()));
            self.bytes.extend(kept);
            self.cut |= !left.is_empty();
        })
        .await;
    }

    async fn keep_last(&mut self, pipe: Option<impl AsyncRead + Unpin>) {
        read_all(pipe, |chunk| {
            self.bytes.extend(chunk);
            let excess = self.bytes.len().saturating_sub(ANSWER_LIMIT);
            self.bytes.drain(..excess);
            self.cut |= excess > 0;
        })
        .await;
    }
}

/// Reads to the end, also what nobody keeps: a full pipe would stop the program.
async fn read_all(pipe: Option<impl AsyncRead + Unpin>, mut hear: impl FnMut(&[u8])) {
    let Some(mut pipe) = pipe else { return };
    let mut buffer = [0; 4096];
    loop {
        match pipe.read(&mut buffer).await {
            Ok(0) => return,
            Ok(length) => hear(buffer.get(..length).unwrap_or_default()),
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "hook not heard");
                return;
            }
        }
    }
}
