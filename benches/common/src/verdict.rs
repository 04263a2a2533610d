//! What evenkeel must reach, and whether it did.

use crate::text::aligned;

/// How a target was met.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// Good enough.
    Met,
    /// Not good enough.
    Missed,
    /// There is no sample.
    NotMeasured,
}

impl Verdict {
    /// Of what was measured.
    pub fn of(is_met: bool) -> Self {
        if is_met { Self::Met } else { Self::Missed }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::Missed => "MISSED",
            Self::NotMeasured => "not measured",
        }
    }
}

/// A target with what was measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// What it is about.
    pub title: String,
    /// What must be reached.
    pub wanted: String,
    /// What was measured.
    pub measured: String,
    /// How that was.
    pub verdict: Verdict,
    /// Whether it rests on samples with a flaw.
    pub flawed: bool,
}

/// What must come out, and what did, for people; `*` marks what rests on flawed samples.
pub fn table(judged: &[Judged]) -> String {
    let head = ["target for evenkeel", "wanted", "measured", "verdict"].map(str::to_owned).to_vec();
    let lines = judged.iter().map(|judged| {
        let flawed = if judged.flawed { " *" } else { "" };
        let verdict = format!("{}{flawed}", judged.verdict.word());
        vec![judged.title.clone(), judged.wanted.clone(), judged.measured.clone(), verdict]
    });
    aligned(&std::iter::once(head).chain(lines).collect::<Vec<_>>())
}

/// How many targets were met, and which were not, in one line.
pub fn in_one_line(judged: &[Judged]) -> String {
    let count = |verdict| judged.iter().filter(|judged| judged.verdict == verdict).count();
    let missed: Vec<&str> = judged
        .iter()
        .filter(|judged| judged.verdict == Verdict::Missed)
        .map(|judged| judged.title.as_str())
        .collect();
    let missed = if missed.is_empty() { String::new() } else { format!(": {}", missed.join("; ")) };
    format!(
        "{} targets met, {} not measured, {} missed{missed}",
        count(Verdict::Met),
        count(Verdict::NotMeasured),
        count(Verdict::Missed),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(title: &str, verdict: Verdict) -> Judged {
        let flawed = verdict == Verdict::Missed;
        let (title, wanted, measured) = (title.to_owned(), "0".to_owned(), "1".to_owned());
        Judged { title, wanted, measured, verdict, flawed }
    }

    #[test]
    fn a_target_is_a_line() {
        let all = [judged("gap", Verdict::Met), judged("failed", Verdict::Missed)];
        let expected = "
target for evenkeel  wanted  measured  verdict
gap                  0       1         met
failed               0       1         MISSED *
";
        assert_eq!(format!("\n{}", table(&all)), expected);
    }

    #[test]
    fn one_line_names_what_was_missed() {
        let mut all = vec![judged("gap", Verdict::Met), judged("kept", Verdict::NotMeasured)];
        assert_eq!(in_one_line(&all), "1 targets met, 1 not measured, 0 missed");
        all.push(judged("failed", Verdict::Missed));
        assert_eq!(in_one_line(&all), "1 targets met, 1 not measured, 1 missed: failed");
    }
}
