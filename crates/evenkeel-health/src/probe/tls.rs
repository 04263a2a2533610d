//! The probe `tls`: a completed handshake is ready. Unlike a connect it proves that the process
//! runs, since the kernel alone completes a connect.

use evenkeel_core::endpoint::Endpoint;
use evenkeel_core::health::Class;
use garde::Validate;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::handshake;
use super::target::{Target, host_name};
use crate::attempt::{Record, Seen};
use crate::config::HealthConfig;
use crate::trust::{Trust, Verify};

/// A TLS handshake is completed and the connection closed again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Validate, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct TlsProbe {
    /// The name asked for (SNI), for which the certificate has to be. By default none is asked
    /// for, and the certificate has to be for the endpoint's IP address.
    #[garde(inner(custom(host_name)))]
    pub server_name: Option<String>,

    /// Whether the certificate is verified: `auto`, which is if the credentials have a CA, or
    /// `never`. Default `auto`.
    #[garde(skip)]
    pub verify: Verify,
}

impl TlsProbe {
    pub(super) async fn attempt(
        &self,
        config: &HealthConfig,
        trust: &Trust,
        endpoint: Endpoint,
        record: &mut Record,
    ) -> Result<Seen, Seen> {
        let name = self.server_name.as_deref();
        let target = Target::new(config, trust, endpoint, name, self.verify)?;
        let stream = target.open(record).await?;
        handshake::close(stream).await;
        Ok(Seen::new(Class::Ready, "completes TLS"))
    }
}
