//! The probe `tcp`: a completed connect is ready. It proves that a kernel is alive and that
//! somebody listens, nothing about the process: prefer `tls` where TLS is spoken.

use evenkeel_core::endpoint::Endpoint;
use evenkeel_core::health::Class;
use garde::Validate;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::connect;
use crate::attempt::{PhaseName, Record, Seen};
use crate::config::HealthConfig;

/// A TCP connection is opened and closed again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Validate, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct TcpProbe {}

pub(super) async fn attempt(
    config: &HealthConfig,
    endpoint: Endpoint,
    record: &mut Record,
) -> Result<Seen, Seen> {
    let connecting = connect::connect(endpoint, config.connect_timeout);
    let stream = record.phase(PhaseName::Connect, connecting, connect::tell).await?;
    // Nothing was sent, and a server that speaks first has hardly done so yet: this is a FIN.
    drop(stream);
    Ok(Seen::new(Class::Ready, "connected"))
}
