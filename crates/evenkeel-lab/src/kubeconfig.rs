//! Writes a kubeconfig for the lab's administrator.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::certificates::Identity;

/// A kubeconfig with everything inside, so that it can be used from anywhere.
pub(crate) fn text(server_url: &str, ca_pem: &str, user: &Identity) -> String {
    let ca = STANDARD.encode(ca_pem);
    let certificate = STANDARD.encode(&user.certificate_pem);
    let key = STANDARD.encode(&user.key_pem);
    format!(
        "\
apiVersion: v1
kind: Config
clusters:
  - name: lab
    cluster:
      server: {server_url}
      certificate-authority-data: {ca}
users:
  - name: lab-admin
    user:
      client-certificate-data: {certificate}
      client-key-data: {key}
contexts:
  - name: lab
    context:
      cluster: lab
      user: lab-admin
current-context: lab
"
    )
}
