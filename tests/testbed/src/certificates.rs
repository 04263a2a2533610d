//! The cluster's own CA and what it signs: servers, users, and the service account key.
//!
//! One directory a control plane:
//!
//! ```text
//! ca.crt                       what clients trust
//! cp-1.crt cp-1.key ...        kube-apiserver of a member
//! admin.crt admin.key ...      a user
//! service-accounts.key .pub    signs tokens
//! ```
//!
//! The key of the CA is in no file: nothing signs after the start.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use time::{Duration, OffsetDateTime};

/// Why the certificates were not made.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A certificate could not be signed, for example because a name is no DNS name.
    #[error("could not sign the certificate of {subject}")]
    Sign {
        /// Whom it is for.
        subject: String,
        /// Why not.
        source: rcgen::Error,
    },
    /// A file could not be written.
    #[error("could not write {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// Who a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User {
    /// Group `system:masters`: may do everything, and does not depend on RBAC.
    Admin,
    /// `CN=evenkeel`, no group: what every authenticated user may, until a binding says more.
    Evenkeel,
    /// `CN=probe`, no group: another of the same kind, to tell apart in audit logs and bindings.
    Probe,
}

impl User {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Admin, Self::Evenkeel, Self::Probe];

    /// The name that kube-apiserver knows it by.
    pub fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Evenkeel => "evenkeel",
            Self::Probe => "probe",
        }
    }

    fn group(self) -> Option<&'static str> {
        match self {
            Self::Admin => Some("system:masters"),
            Self::Evenkeel | Self::Probe => None,
        }
    }
}

/// The files with which a client proves who it is, and knows whom it talks to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// What it trusts: the CA of the cluster, PEM.
    pub ca: PathBuf,
    /// Its certificate, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
}

/// The files of one control plane.
#[derive(Debug)]
pub(crate) struct Certificates {
    directory: PathBuf,
}

/// One kube-apiserver, for its certificate.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) name: String,
    pub(crate) addresses: Vec<IpAddr>,
}

impl Certificates {
    /// Makes all of them in `directory`; every server's certificate is good for `extra` too.
    pub(crate) fn create(
        directory: &Path,
        servers: &[Server],
        extra: &[String],
    ) -> Result<Self, CertificateError> {
        let write = |path: &Path, source| CertificateError::Write { path: path.to_owned(), source };
        fs::create_dir_all(directory).map_err(|source| write(directory, source))?;
        let certificates = Self { directory: directory.to_owned() };

        let ca = certificates.create_ca()?;
        for server in servers {
            let params = server_params(server, extra).map_err(|source| CertificateError::Sign {
                subject: server.name.clone(),
                source,
            })?;
            certificates.issue(&server.name, &params, &ca)?;
        }
        for user in User::ALL {
            certificates.issue(user.name(), &user_params(user), &ca)?;
        }
        certificates.create_service_account_key()?;
        Ok(certificates)
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn ca(&self) -> PathBuf {
        self.directory.join("ca.crt")
    }

    /// Those of a user or, by its name, of a server.
    pub(crate) fn credentials(&self, name: &str) -> Credentials {
        Credentials {
            ca: self.ca(),
            certificate: self.directory.join(format!("{name}.crt")),
            key: self.directory.join(format!("{name}.key")),
        }
    }

    pub(crate) fn service_account_key(&self) -> PathBuf {
        self.directory.join("service-accounts.key")
    }

    pub(crate) fn service_account_public_key(&self) -> PathBuf {
        self.directory.join("service-accounts.pub")
    }

    fn create_ca(&self) -> Result<Issuer<'static, KeyPair>, CertificateError> {
        let mut params = named("evenkeel-testbed-ca", None);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];

        let failed = |source| CertificateError::Sign { subject: "the CA".to_owned(), source };
        let key = KeyPair::generate().map_err(failed)?;
        let certificate = params.self_signed(&key).map_err(failed)?;
        write_public(&self.ca(), &certificate.pem())?;
        Ok(Issuer::new(params, key))
    }

    fn issue(
        &self,
        name: &str,
        params: &CertificateParams,
        ca: &Issuer<'_, KeyPair>,
    ) -> Result<(), CertificateError> {
        let failed = |source| CertificateError::Sign { subject: name.to_owned(), source };
        let key = KeyPair::generate().map_err(failed)?;
        let certificate = params.signed_by(&key, ca).map_err(failed)?;
        let files = self.credentials(name);
        write_public(&files.certificate, &certificate.pem())?;
        write_private(&files.key, &key.serialize_pem())
    }

    fn create_service_account_key(&self) -> Result<(), CertificateError> {
        let key = KeyPair::generate().map_err(|source| CertificateError::Sign {
            subject: "service accounts".to_owned(),
            source,
        })?;
        write_public(&self.service_account_public_key(), &key.public_key_pem())?;
        write_private(&self.service_account_key(), &key.serialize_pem())
    }
}

fn server_params(server: &Server, extra: &[String]) -> Result<CertificateParams, rcgen::Error> {
    let addresses = server.addresses.iter().map(IpAddr::to_string);
    let names = EVERY_SERVER.iter().map(|name| (*name).to_owned());
    let mut params = CertificateParams::new(
        names.chain(addresses).chain(extra.iter().cloned()).collect::<Vec<_>>(),
    )?;
    let named = named("kube-apiserver", None);
    params.distinguished_name = named.distinguished_name;
    params.not_before = named.not_before;
    params.not_after = named.not_after;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    Ok(params)
}

fn user_params(user: User) -> CertificateParams {
    let mut params = named(user.name(), user.group());
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

fn named(name: &str, group: Option<&str>) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    if let Some(group) = group {
        params.distinguished_name.push(DnType::OrganizationName, group);
    }
    params.not_before = OffsetDateTime::now_utc() - Duration::DAY;
    params.not_after = OffsetDateTime::now_utc() + Duration::DAY * 30;
    params
}

fn write_public(path: &Path, text: &str) -> Result<(), CertificateError> {
    fs::write(path, text)
        .map_err(|source| CertificateError::Write { path: path.to_owned(), source })
}

fn write_private(path: &Path, text: &str) -> Result<(), CertificateError> {
    let create = || -> io::Result<File> {
        let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(path)?;
        file.write_all(text.as_bytes())?;
        Ok(file)
    };
    create().map(drop).map_err(|source| CertificateError::Write { path: path.to_owned(), source })
}

/// As kubeadm has them; the last is the service's own address.
const EVERY_SERVER: [&str; 8] = [
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
    "localhost",
    "127.0.0.1",
    "::1",
    "10.96.0.1",
];
