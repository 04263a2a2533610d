//! Issues the certificates of the lab: serving ones for its servers, client ones for its users.

use std::fmt;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};

/// The names a kube-apiserver of the lab answers to; the first four are those of every cluster.
pub const SERVING_NAMES: [&str; 7] = [
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
    "localhost",
    "127.0.0.1",
    "::1",
];

/// A certificate authority whose key lives only as long as this value.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    name: String,
    pem: String,
}

impl Authority {
    /// Creates an authority with a key of its own; `name` becomes its common name.
    ///
    /// # Errors
    ///
    /// [`CertificateError`] if the key cannot be made or the certificate not be signed.
    pub fn new(name: &str) -> Result<Self, CertificateError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = subject(name, None);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let of_name = |source| CertificateError { subject: name.to_owned(), source };
        let key = KeyPair::generate().map_err(of_name)?;
        let pem = params.self_signed(&key).map_err(of_name)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), name: name.to_owned(), pem })
    }

    /// Gives the certificate that clients have to trust.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Issues a serving certificate for DNS names and IP addresses.
    ///
    /// # Errors
    ///
    /// [`CertificateError`] if a name is no valid DNS name or the certificate cannot be signed.
    pub fn serving_certificate(&self, names: &[&str]) -> Result<Identity, CertificateError> {
        let common_name = names.first().copied().unwrap_or("server");
        let names: Vec<String> = names.iter().copied().map(str::to_owned).collect();
        let params = CertificateParams::new(names)
            .map_err(|source| CertificateError { subject: common_name.to_owned(), source })?;
        self.issue(params, common_name, None, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// Issues a client certificate; kube-apiserver reads the user from the common name and its
    /// group from the organisation.
    ///
    /// # Errors
    ///
    /// [`CertificateError`] if the certificate cannot be signed.
    pub fn client_certificate(
        &self,
        common_name: &str,
        organisation: &str,
    ) -> Result<Identity, CertificateError> {
        let params = CertificateParams::default();
        self.issue(params, common_name, Some(organisation), ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn issue(
        &self,
        mut params: CertificateParams,
        common_name: &str,
        organisation: Option<&str>,
        usage: ExtendedKeyUsagePurpose,
    ) -> Result<Identity, CertificateError> {
        params.distinguished_name = subject(common_name, organisation);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        params.use_authority_key_identifier_extension = true;
        let of_name = |source| CertificateError { subject: common_name.to_owned(), source };
        let key = KeyPair::generate().map_err(of_name)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(of_name)?;
        Ok(Identity { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() })
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A certificate and its private key, both as PEM text.
#[derive(Clone)]
pub struct Identity {
    /// The certificate.
    pub certificate_pem: String,
    /// The private key, as PKCS#8.
    pub key_pem: String,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

/// Why a certificate was not issued.
#[derive(Debug, thiserror::Error)]
#[error("no certificate was issued for {subject}")]
pub struct CertificateError {
    subject: String,
    source: rcgen::Error,
}

fn subject(common_name: &str, organisation: Option<&str>) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    if let Some(organisation) = organisation {
        name.push(DnType::OrganizationName, organisation);
    }
    name
}
