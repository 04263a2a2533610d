//! Outcomes in a row -> [`Evidence`]. Pure.
//!
//! ```text
//! unknown --the first outcome, whichever--> ready | unready | foreign
//! ready   --silent----> unready, a suspect --silent, `fall` in a row--> dead
//!    ^<----ready once---'
//! ready   --silent so far-> unready, a suspect --proven otherwise---> dead
//! any     --a negative answer, or refused--> unready, at once     (draining is reversible)
//! any     --of another cluster-------------> foreign, at once
//! unready, dead, foreign --ready, `rise` in a row--> ready
//! ```
//!
//! Two more rules keep a verdict from getting better for no reason: silence clears neither dead
//! nor foreign, and foreign is left only for an outcome that proves the endpoint to be ours. Else
//! a foreign server that closes early might be served by fail-open.

use evenkeel_core::health::{Class, Evidence, Health};

/// What is believed of one endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tracker {
    rise: u32,
    fall: u32,
    evidence: Evidence,
    ready_in_a_row: u32,
    silent_in_a_row: u32,
    /// Whether it was ready when the silence began.
    ready_before_silence: bool,
    /// It is silent, as far as a look that has not ended can tell, or lives but is silent to looks.
    suspected: bool,
}

impl Tracker {
    /// Nothing is known yet. `rise` and `fall` are the keys of
    /// [`HealthConfig`](crate::HealthConfig).
    pub fn new(rise: u32, fall: u32) -> Self {
        Self {
            rise,
            fall,
            evidence: Evidence::NONE,
            ready_in_a_row: 0,
            silent_in_a_row: 0,
            ready_before_silence: false,
            suspected: false,
        }
    }

    /// What is believed now.
    pub fn evidence(&self) -> Evidence {
        self.evidence
    }

    /// Whether one or more silent outcomes have made it a suspect, and more are needed to tell.
    pub fn is_suspect(&self) -> bool {
        self.evidence.health != Health::Dead
            && self.silent_in_a_row > 0
            && self.silent_in_a_row < self.fall
    }

    /// It is silent to a look, and that is no proof yet.
    pub fn suspect(&mut self, class: Class) {
        self.begin_silence();
        self.suspected = true;
        match self.evidence.health {
            Health::Foreign | Health::Dead => {}
            Health::Unknown | Health::Ready | Health::Unready => {
                self.evidence = Evidence { health: Health::Unready, class };
            }
        }
    }

    /// It is silent, and that is proven otherwise than by outcomes in a row.
    pub fn die(&mut self, class: Class) {
        self.begin_silence();
        self.silent_in_a_row = self.silent_in_a_row.max(self.fall);
        if self.evidence.health != Health::Foreign {
            self.believe(class);
        }
    }

    /// Takes an outcome into account; `true` if the evidence is another afterwards.
    pub fn record(&mut self, class: Class) -> bool {
        let before = self.evidence;
        match class {
            // Nothing was seen of the endpoint.
            Class::Unproven | Class::ProbeFault => {}
            Class::Throttled => self.throttled(),
            Class::Ready => self.ready(),
            Class::EtcdUnready
            | Class::ShuttingDown
            | Class::Starting
            | Class::Broken
            | Class::Unauthorized
            | Class::Forbidden
            | Class::Unavailable
            | Class::UnexpectedStatus
            | Class::AnswerTimeout => self.negative(class),
            // Nothing that proves whose server it is.
            Class::Refused
            | Class::Closed
            | Class::Garbled
            | Class::CertificateInvalid
            | Class::TlsRefused
                if before.health == Health::Foreign =>
            {
                self.end_rows();
            }
            Class::Refused
            | Class::Closed
            | Class::Garbled
            | Class::CertificateInvalid
            | Class::TlsRefused
            | Class::Foreign => self.negative(class),
            Class::TlsTimeout | Class::ConnectTimeout | Class::Unreachable => self.silent(class),
        }
        self.evidence != before
    }

    fn ready(&mut self) {
        let cleared = (self.silent_in_a_row > 0 || self.suspected)
            && self.evidence.health == Health::Unready
            && self.ready_before_silence;
        self.silent_in_a_row = 0;
        self.suspected = false;
        self.ready_in_a_row = self.ready_in_a_row.saturating_add(1);
        let unproven = self.evidence.health == Health::Unknown;
        if unproven || cleared || self.ready_in_a_row >= self.rise {
            self.believe(Class::Ready);
        }
    }

    fn negative(&mut self, class: Class) {
        self.end_rows();
        self.believe(class);
    }

    fn silent(&mut self, class: Class) {
        self.begin_silence();
        self.silent_in_a_row = self.silent_in_a_row.saturating_add(1);
        match self.evidence.health {
            Health::Foreign => {}
            Health::Dead => self.believe(class),
            Health::Unknown | Health::Ready | Health::Unready => {
                if self.silent_in_a_row >= self.fall {
                    self.believe(class);
                } else {
                    self.evidence = Evidence { health: Health::Unready, class };
                }
            }
        }
    }

    fn begin_silence(&mut self) {
        if self.silent_in_a_row == 0 && !self.suspected {
            self.ready_before_silence = self.evidence.health == Health::Ready;
        }
        self.ready_in_a_row = 0;
    }

    /// It asks to be left alone: no verdict, but it is not silent either.
    fn throttled(&mut self) {
        self.silent_in_a_row = 0;
        self.suspected = false;
        if self.evidence.health == Health::Unknown {
            self.believe(Class::Throttled);
        }
    }

    fn end_rows(&mut self) {
        self.ready_in_a_row = 0;
        self.silent_in_a_row = 0;
        self.suspected = false;
    }

    fn believe(&mut self, class: Class) {
        self.evidence = Evidence { health: class.health(), class };
    }
}

#[cfg(test)]
mod tests;
