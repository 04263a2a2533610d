use std::error::Error as _;

use super::*;

/// A kubeconfig in a directory of its own, with these lines for its cluster and its user.
struct Written {
    directory: tempfile::TempDir,
}

impl Written {
    fn text(text: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("kubeconfig"), text).unwrap();
        Self { directory }
    }

    fn of(cluster: &str, user: &str) -> Self {
        Self::text(&format!(
            "apiVersion: v1
kind: Config
clusters: [{{name: home, cluster: {{{cluster}}}}}]
users: [{{name: me, user: {{{user}}}}}]
contexts:
- {{name: main, context: {{cluster: home, user: me, namespace: lb}}}}
- {{name: lost, context: {{cluster: away, user: me}}}}
- {{name: nobody, context: {{cluster: home}}}}
current-context: main
"
        ))
    }

    fn file(self, name: &str, content: &str) -> Self {
        std::fs::write(self.directory.path().join(name), content).unwrap();
        self
    }

    fn read(&self, context: Option<&str>) -> Result<ClusterAccess, KubeconfigError> {
        read(&self.directory.path().join("kubeconfig"), context)
    }

    /// The error without the directory, which is another each time.
    fn error(&self, context: Option<&str>) -> String {
        let error = self.read(context).unwrap_err();
        let directory = format!("{}/", self.directory.path().display());
        error.to_string().replace(&directory, "")
    }
}

const SERVER: &str = "server: 'https://10.0.0.11:6443'";

#[test]
fn data_inside_becomes_bytes() {
    let written = Written::of(
        &format!("{SERVER}, certificate-authority-data: Y2E=, tls-server-name: api"),
        "client-certificate-data: Y2hhaW4=, client-key-data: a2V5",
    );
    let access = written.read(None).unwrap();
    assert_eq!(access.server.to_string(), "https://10.0.0.11:6443");
    assert_eq!(access.server_name(), "api");
    assert_eq!(access.namespace, "lb");
    assert_eq!(access.credentials.ca.as_deref(), Some(&b"ca"[..]));
    let certificate = access.credentials.certificate.unwrap();
    assert_eq!((&certificate.chain[..], &certificate.key[..]), (&b"chain"[..], &b"key"[..]));
    assert!(!access.insecure);
    assert!(access.unsupported.is_empty());
}

#[test]
fn files_are_read_beside_the_kubeconfig() {
    let written = Written::of(
        &format!("{SERVER}, certificate-authority: ca.crt"),
        "client-certificate: me.crt, client-key: me.key, tokenFile: token",
    )
    .file("ca.crt", "ca")
    .file("me.crt", "chain")
    .file("me.key", "key")
    .file("token", "t0ken\n");
    let credentials = written.read(None).unwrap().credentials;
    assert_eq!(credentials.ca.as_deref(), Some(&b"ca"[..]));
    assert_eq!(credentials.certificate.unwrap().key, b"key");
    assert_eq!(credentials.token.as_deref(), Some("t0ken"));
}

#[test]
fn an_absolute_path_stands_for_itself() {
    let elsewhere = tempfile::tempdir().unwrap();
    let ca = elsewhere.path().join("ca.crt");
    std::fs::write(&ca, "ca").unwrap();
    let written = Written::of(&format!("{SERVER}, certificate-authority: {}", ca.display()), "");
    assert_eq!(written.read(None).unwrap().credentials.ca.as_deref(), Some(&b"ca"[..]));
}

#[test]
fn a_token_goes_before_its_file() {
    let written = Written::of(SERVER, "token: direct, tokenFile: not-read");
    assert_eq!(written.read(None).unwrap().credentials.token.as_deref(), Some("direct"));
}

#[test]
fn a_context_without_a_user_is_nobody() {
    let access = Written::of(SERVER, "token: t").read(Some("nobody")).unwrap();
    assert_eq!(access.credentials, Credentials::default());
    assert_eq!(access.namespace, "default");
    assert_eq!(access.server_name(), "kubernetes.default.svc");
}

#[test]
fn a_login_by_command_is_left_out_and_said() {
    let written = Written::of(
        &format!("{SERVER}, insecure-skip-tls-verify: true, proxy-url: 'http://proxy'"),
        "exec: {command: aws, apiVersion: v1}, auth-provider: {name: oidc}, username: a, as: b",
    );
    let access = written.read(None).unwrap();
    assert!(access.insecure);
    let lines = access.unsupported.join("\n");
    for named in ["command `aws`", "`auth-provider` `oidc`", "password", "`as`", "`proxy-url`"] {
        assert!(lines.contains(named), "{named}: {lines}");
    }
    assert_eq!(access.unsupported.len(), 5);
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    let server = Written::of(SERVER, "");
    assert_eq!(
        server.error(Some("other")),
        "kubeconfig has no context `other`: it has `main`, `lost`, `nobody`"
    );
    assert_eq!(server.error(Some("lost")), "kubeconfig has no cluster `away`: it has `home`");
    assert_eq!(Written::of("", "").error(None), "cluster `home` in kubeconfig has no `server`");

    let http = Written::of("server: 'http://10.0.0.11:8080'", "");
    assert_eq!(http.error(None), "`server` of cluster `home` in kubeconfig cannot be used");
    let cause = http.read(None).unwrap_err().source().unwrap().to_string();
    assert_eq!(cause, "`http://10.0.0.11:8080` does not begin with https://");

    let data = Written::of(&format!("{SERVER}, certificate-authority-data: '%'"), "");
    assert_eq!(data.error(None), "`certificate-authority-data` in kubeconfig is not base64");
    let half = Written::of(SERVER, "client-certificate-data: YQ==");
    assert_eq!(
        half.error(None),
        "user `me` in kubeconfig has `client-certificate` and no `client-key`"
    );
    let file = Written::of(SERVER, "tokenFile: gone");
    assert_eq!(file.error(None), "could not read tokenFile gone");
}

#[test]
fn what_is_no_kubeconfig_is_said_to_be_none() {
    assert_eq!(Written::text("clusters: 5").error(None), "kubeconfig is not a kubeconfig");
    assert_eq!(
        Written::text("").error(None),
        "kubeconfig has no `current-context`: name one of none"
    );
    let missing = read(Path::new("/nowhere/config"), None).unwrap_err();
    assert_eq!(missing.to_string(), "could not read kubeconfig /nowhere/config");
}

#[test]
fn a_secret_is_not_printed() {
    let access = Written::of(SERVER, "token: s3cret").read(None).unwrap();
    assert!(!format!("{access:?}").contains("s3cret"));
}
