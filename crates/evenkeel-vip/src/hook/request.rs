//! What is said to a hook in one call, by whatever way it is called.

use std::fmt;
use std::net::IpAddr;

/// What a hook is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// Move the address to this node, whoever has it.
    Acquire,
    /// Take the address off this node, if this node has it.
    Release,
    /// Say who has the address.
    Owner,
}

impl Operation {
    /// Its name in the contract: an argument, or the last part of a path.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Acquire => "acquire",
            Self::Release => "release",
            Self::Owner => "owner",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One call.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) operation: Operation,
    pub(super) vip: IpAddr,
    pub(super) node: String,
    /// Greater with each acquire of this node.
    pub(super) epoch: u64,
    /// Milliseconds that the call may take.
    pub(super) deadline_ms: u64,
}

/// The longest answer that is read, and the most of what else is said that is kept, in bytes.
pub(super) const ANSWER_LIMIT: usize = 8 * 1024;

/// The longest part of what a hook said that goes into a reason, in characters.
const REASON_LIMIT: usize = 200;

/// The last line that says anything, short and without control characters.
pub(super) fn last_words(said: &[u8]) -> Option<String> {
    let said = String::from_utf8_lossy(said);
    let line = said.lines().map(str::trim).rfind(|line| !line.is_empty())?;
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    Some(line.chars().map(plain).take(REASON_LIMIT).collect())
}

/// The owner that an answer names: one line, or nothing.
pub(super) fn owner(answer: &[u8]) -> Result<Option<String>, NotAnOwner> {
    let answer = str::from_utf8(answer).map_err(|_source| NotAnOwner)?.trim();
    if answer.len() > LONGEST_NAME || answer.chars().any(char::is_control) {
        return Err(NotAnOwner);
    }
    Ok((!answer.is_empty()).then(|| answer.to_owned()))
}

/// A host name has at most 253 bytes (RFC 1035); a provider's own name for a machine may be longer.
const LONGEST_NAME: usize = 512;

/// The answer to `owner` is no name.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("its answer is neither one line with a name nor empty")]
pub(super) struct NotAnOwner;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_one_line_or_nothing() {
        assert_eq!(owner(b"cp-1\n"), Ok(Some("cp-1".to_owned())));
        assert_eq!(owner(b" \n"), Ok(None));
        assert_eq!(owner(b""), Ok(None));
        for answer in [&b"cp-1\ncp-2\n"[..], b"\xff", &[b'a'; LONGEST_NAME + 1]] {
            assert_eq!(owner(answer), Err(NotAnOwner), "{answer:?}");
        }
    }

    #[test]
    fn the_last_words_are_short_and_plain() {
        let said = format!("Traceback\n\x1b[31mno\tsuch token{}\n\n", "!".repeat(1000));
        let words = last_words(said.as_bytes()).unwrap();
        assert!(words.starts_with(" [31mno such token!"), "{words}");
        assert_eq!(words.chars().count(), REASON_LIMIT);
        assert_eq!(last_words(b" \n"), None);
    }
}
