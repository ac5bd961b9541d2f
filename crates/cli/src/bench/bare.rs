//! Bare TLS handshakes: the library on this machine, with the certificate of a platform and nothing behind it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use clap::Args;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use super::BARE_TLS_PORT;
use super::server::{START_TIMEOUT, Server};
use crate::mqtt_client::Target;

#[derive(Args)]
pub(crate) struct BareTlsArgs {
    /// Certificate chain, leaf first.
    #[arg(long)]
    certificate: PathBuf,
    /// Its key.
    #[arg(long)]
    key: PathBuf,
}

/// Shakes hands with whoever comes, and waits until each of them goes.
pub(super) async fn serve(args: &BareTlsArgs) -> anyhow::Result<()> {
    let chain = CertificateDer::pem_file_iter(&args.certificate)?.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(&args.key)?;
    let acceptor = TlsAcceptor::from(gantry_gateway::tls::server_config(chain, key, &[])?);
    let listener = TcpListener::bind(("127.0.0.1", BARE_TLS_PORT)).await?;
    loop {
        let (socket, _) = listener.accept().await?;
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            socket.set_nodelay(true)?;
            let mut stream = Box::new(acceptor.accept(socket).await?);
            stream.read_u8().await
        });
    }
}

/// Starts it with the certificate of the platform in `folder`, in a process of its own.
pub(super) async fn start(folder: &Path, like: &Target) -> anyhow::Result<(Server, Target)> {
    let tls = folder.join("data/tls");
    let child = Command::new(std::env::current_exe()?)
        .args(["bench", "bare-tls", "--certificate"])
        .arg(tls.join("server.pem"))
        .arg("--key")
        .arg(tls.join("server.key"))
        // What it leaves there goes with the folder.
        .env("TMPDIR", folder)
        .stdout(Stdio::null())
        .spawn()?;
    let server = Server::of(child);
    let started = Instant::now();
    while TcpStream::connect(("127.0.0.1", BARE_TLS_PORT)).await.is_err() {
        anyhow::ensure!(started.elapsed() < START_TIMEOUT, "the bare TLS server did not become ready");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok((server, Target { host: "localhost".into(), port: BARE_TLS_PORT, tls: like.tls.clone() }))
}
