//! The seam between the process and who looks at it.

use crate::readiness::Check;
use crate::status::{EventStatus, Status};

/// What the process tells of itself. Every answer is of now, computed without waiting: it is
/// called from a request.
pub trait Observe: Send + Sync + 'static {
    /// All that `/api/v1/status` says.
    fn status(&self) -> Status;

    /// The checks of `/readyz`, in the order in which they are shown.
    fn readiness(&self) -> Vec<Check>;

    /// The changes of state after sequence number `since`, oldest first.
    fn events(&self, since: u64) -> Vec<EventStatus>;
}
