//! What every bench tells of its measurement, and where it keeps it.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use time::OffsetDateTime;

use crate::failed::{Doing, Failed};

/// Says how far it is.
///
/// # Errors
/// If nobody takes the line.
pub fn tell(progress: &mut impl Write, line: &str) -> Result<(), Failed> {
    writeln!(progress, "{line}").doing(|| "say how far it is")
}

/// Writes a result to `target/bench-<bench>`, into a file whose name begins with `what` and goes on
/// with the time.
///
/// # Errors
/// If the file cannot be written.
pub fn write(bench: &str, what: &str, result: &Value) -> Result<PathBuf, Failed> {
    let directory =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target").join(format!("bench-{bench}"));
    fs::create_dir_all(&directory).doing(|| "make a directory for the result")?;
    let directory = directory.canonicalize().doing(|| "find the directory for the result")?;
    let now = OffsetDateTime::now_utc();
    let (date, hour, minute, second) = (now.date(), now.hour(), now.minute(), now.second());
    let path = directory.join(format!("{what}{date}T{hour:02}{minute:02}{second:02}Z.json"));
    let text = serde_json::to_string_pretty(result).doing(|| "write the result as JSON")?;
    fs::write(&path, text).doing(|| format!("write {}", path.display()))?;
    Ok(path)
}

/// The version of the kernel.
pub fn kernel() -> String {
    let text = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    text.trim().to_owned()
}

/// What a program says of its version when it is given an argument. None: it is not here.
pub fn version(program: &Path, argument: &str) -> Option<String> {
    let output = Command::new(program).arg(argument).output().ok()?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    text.lines().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned)
}

/// Those that are measured, each round and each place in it beginning with another one.
pub fn in_turn<T: Clone>(all: &[T], round: u32, place: usize) -> Vec<T> {
    let round = usize::try_from(round).unwrap_or_default();
    let mut turn = all.to_vec();
    let by = (round + place).checked_rem(turn.len()).unwrap_or_default();
    turn.rotate_left(by);
    turn
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_always_first() {
        let all = ["haproxy", "nginx", "evenkeel"];
        let firsts: Vec<&str> = (1..=3).map(|round| in_turn(&all, round, 0)[0]).collect();
        for one in all {
            assert!(firsts.contains(&one), "{one} in {firsts:?}");
        }
        assert_ne!(in_turn(&all, 1, 0), in_turn(&all, 1, 1));
        assert_eq!(in_turn(&["evenkeel"], 3, 2), ["evenkeel"]);
        assert!(in_turn::<&str>(&[], 3, 2).is_empty());
    }
}
