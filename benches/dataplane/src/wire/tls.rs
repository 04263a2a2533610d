//! TLS without blocking, as both sides of the bench need it.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::net::{RecvFlags, SendFlags, recv, send};
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::{
    ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig, ServerConnection,
};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};

use super::{again, would_block};

/// What a backend shows: a certificate for `localhost`, made on the spot.
#[derive(Clone)]
pub(crate) struct Identity {
    config: Arc<ServerConfig>,
    certificate: CertificateDer<'static>,
}

impl Identity {
    /// Makes a key and a certificate.
    pub(crate) fn new() -> io::Result<Self> {
        let made =
            rcgen::generate_simple_self_signed(vec![NAME.to_owned()]).map_err(io::Error::other)?;
        let certificate = made.cert.der().clone();
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key.into())
            .map_err(io::Error::other)?;
        Ok(Self { config: Arc::new(config), certificate })
    }

    /// The certificate, for who is to trust it.
    pub(crate) fn certificate(&self) -> &[u8] {
        &self.certificate
    }
}

/// What a client trusts: that one certificate.
#[derive(Clone)]
pub(crate) struct Trust {
    config: Arc<ClientConfig>,
}

impl Trust {
    /// Trusts the certificate of an [`Identity`].
    pub(crate) fn new(certificate: Vec<u8>) -> io::Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(certificate)).map_err(io::Error::other)?;
        let mut config =
            ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .map_err(io::Error::other)?
                .with_root_certificates(roots)
                .with_no_client_auth();
        // Every connection pays for a whole handshake.
        config.resumption = Resumption::disabled();
        Ok(Self { config: Arc::new(config) })
    }
}

/// One end of a connection.
pub(super) struct Tls {
    state: Connection,
}

impl Tls {
    pub(super) fn server(identity: &Identity) -> io::Result<Self> {
        let config = Arc::clone(&identity.config);
        let state = ServerConnection::new(config).map_err(io::Error::other)?;
        Ok(Self { state: state.into() })
    }

    pub(super) fn client(trust: &Trust) -> io::Result<Self> {
        let name = ServerName::try_from(NAME).map_err(io::Error::other)?;
        let config = Arc::clone(&trust.config);
        let state = ClientConnection::new(config, name).map_err(io::Error::other)?;
        Ok(Self { state: state.into() })
    }

    pub(super) fn begin(&mut self, socket: &OwnedFd, mut begun: &[u8]) -> io::Result<()> {
        while !begun.is_empty() {
            self.state.read_tls(&mut begun)?;
            self.state.process_new_packets().map_err(io::Error::other)?;
        }
        self.flush(socket)
    }

    pub(super) fn send(&mut self, socket: &OwnedFd, bytes: &[u8]) -> io::Result<usize> {
        self.flush(socket)?;
        if self.is_blocked() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        // As much as the state holds; 0 says that it is full, for example before the handshake.
        let taken = self.state.writer().write(bytes)?;
        self.flush(socket)?;
        if taken == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(taken) }
    }

    pub(super) fn receive(&mut self, socket: &OwnedFd, scratch: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.state.reader().read(scratch) {
                Err(error) if would_block(&error) => {}
                // The other side closed without saying so inside TLS.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                answer => return answer,
            }
            // 0 makes the reader answer what the end is.
            self.state.read_tls(&mut Socket(socket))?;
            self.state.process_new_packets().map_err(io::Error::other)?;
            self.flush(socket)?;
        }
    }

    pub(super) fn is_blocked(&self) -> bool {
        self.state.wants_write()
    }

    pub(super) fn flush(&mut self, socket: &OwnedFd) -> io::Result<()> {
        while self.state.wants_write() {
            match self.state.write_tls(&mut Socket(socket)) {
                Ok(_) => {}
                Err(error) if would_block(&error) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    pub(super) fn finish(&mut self, socket: &OwnedFd) -> io::Result<()> {
        self.state.send_close_notify();
        self.flush(socket)
    }
}

/// The socket as rustls wants it.
struct Socket<'a>(&'a OwnedFd);

impl Read for Socket<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        again(|| recv(self.0, &mut *bytes, RecvFlags::empty())).map(|(_, all)| all)
    }
}

impl Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        again(|| send(self.0, bytes, SendFlags::NOSIGNAL))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const NAME: &str = "localhost";
