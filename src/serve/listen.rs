//! Connections: how many, for how long they may dawdle, and how they end.

use std::{io, path::Path, sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::{GracefulShutdown, Watcher},
    service::TowerToHyperService,
};
use rustls::ServerConfig;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_rustls::TlsAcceptor;

use super::error::ApiError;

/// Clients that are being told that there is no room, at a time; others find their connection closed.
/// With TLS each takes a signature, which those who are served wait for.
const REFUSALS_MAX: usize = 256;
const TLS_REFUSALS_MAX: usize = 16;

/// How long one of them may take to understand.
const REFUSAL_MAX: Duration = Duration::from_millis(100);
const TLS_REFUSAL_MAX: Duration = Duration::from_secs(2);

/// How long to rest when the system has no more file handles.
const REST: Duration = Duration::from_millis(100);

/// How connections are taken.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) connections_max: usize,
    /// For the head of a request, and the beginning of TLS.
    pub(crate) head_max: Duration,
    /// For answers that are being written when the server is told to stop.
    pub(crate) drain_max: Duration,
}

/// Serves until `stop` is done, then lets what runs come to its end.
pub(crate) async fn listen(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    router: Router,
    limits: Limits,
    stop: impl Future<Output = ()>,
) {
    let connections = Arc::new(Semaphore::new(limits.connections_max));
    let refusals = if tls.is_some() { TLS_REFUSALS_MAX } else { REFUSALS_MAX };
    let refusals = Arc::new(Semaphore::new(refusals));
    let graceful = GracefulShutdown::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                if !is_of_the_client(&error) {
                    tracing::warn!(%error, "no connection can be taken");
                    tokio::time::sleep(REST).await;
                }
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&connections).try_acquire_owned() else {
            if let Ok(permit) = Arc::clone(&refusals).try_acquire_owned() {
                tokio::spawn(refuse(stream, tls.clone(), permit));
            }
            continue;
        };
        // Tokens are small, and each shall arrive at once.
        let _ = stream.set_nodelay(true);
        let watcher = graceful.watcher();
        let (router, tls) = (router.clone(), tls.clone());
        tokio::spawn(async move {
            match tls {
                None => serve(stream, router, limits, watcher, permit).await,
                Some(tls) => {
                    let hello = tokio::time::timeout(limits.head_max, tls.accept(stream)).await;
                    if let Ok(Ok(stream)) = hello {
                        serve(stream, router, limits, watcher, permit).await;
                    }
                }
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(limits.drain_max, graceful.shutdown()).await.is_err() {
        tracing::warn!("some answers were cut short by the shutdown");
    }
}

/// Says that there is no room.
async fn refuse(stream: TcpStream, tls: Option<TlsAcceptor>, permit: OwnedSemaphorePermit) {
    // Whether it was understood is the client's affair.
    let _ = match tls {
        None => tokio::time::timeout(REFUSAL_MAX, say_full(stream)).await,
        Some(tls) => {
            let told = async { say_full(tls.accept(stream).await?).await };
            tokio::time::timeout(TLS_REFUSAL_MAX, told).await
        }
    };
    drop(permit);
}

/// What the client sends is read for a moment: closed before that, the connection would be reset, and
/// the client might not see the answer.
async fn say_full(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<u64> {
    let body = ApiError::overloaded("the server").json().to_string();
    let head = format!(
        "HTTP/1.1 503 Service Unavailable\r\nretry-after: 2\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).await?;
    stream.shutdown().await?;
    tokio::io::copy(&mut stream, &mut tokio::io::sink()).await
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: Router,
    limits: Limits,
    watcher: Watcher,
    permit: OwnedSemaphorePermit,
) {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(limits.head_max);
    let connection =
        builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    // Whatever goes wrong on a connection is its client's affair.
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, "a connection ended");
    }
    drop(permit);
}

/// Errors of one client that left before it was accepted, as opposed to ours.
fn is_of_the_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Speaks TLS with certificates of PEM files.
///
/// # Errors
/// When a file cannot be read or is not what it should be.
pub(crate) fn tls(cert: &Path, key: &Path) -> Result<TlsAcceptor> {
    let pem = fs_err::read(cert)?;
    let chain = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<Vec<_>, _>>()
        .with_context(|| format!("`{}` holds no certificates in PEM form", cert.display()))?;
    let pem = fs_err::read(key)?;
    let private = PrivateKeyDer::from_pem_slice(&pem)
        .with_context(|| format!("`{}` holds no private key in PEM form", key.display()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .with_context(|| {
            format!("`{}` and `{}` do not go together", cert.display(), key.display())
        })?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Listens on an address, or says who could be in the way.
///
/// # Errors
/// When the address is taken or not ours.
pub(crate) async fn bind(addr: std::net::SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(addr)
        .await
        .with_context(|| format!("could not listen on {addr} (--addr names another address)"))
}

#[cfg(test)]
mod tests {
    use std::{path::PathBuf, sync::Arc};

    use rustls::{ClientConfig, RootCertStore};
    use tokio::io::AsyncReadExt as _;
    use tokio_rustls::TlsConnector;

    use super::*;

    const LIMITS: Limits = Limits {
        connections_max: 2,
        head_max: Duration::from_secs(5),
        drain_max: Duration::from_secs(5),
    };

    fn fixture(name: &str) -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls").join(name)
    }

    fn connector() -> TlsConnector {
        let pem = fs_err::read(fixture("cert.pem")).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&pem).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        TlsConnector::from(Arc::new(config))
    }

    async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> String {
        let head = b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        stream.write_all(head).await.unwrap();
        let mut res = String::new();
        // Some servers close without saying so.
        let _ = stream.read_to_string(&mut res).await;
        res
    }

    #[tokio::test]
    async fn tls_is_spoken_with_the_certificate_of_the_settings() {
        let tls = tls(&fixture("cert.pem"), &fixture("key.pem")).unwrap();
        let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let router = Router::new().route("/", axum::routing::get(|| async { "bonjour" }));
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let stopped = async {
            let _ = stopped.await;
        };
        let server = tokio::spawn(listen(listener, Some(tls), router, LIMITS, stopped));
        let stream = tokio::net::TcpStream::connect(addr).await.unwrap();
        let name = "localhost".try_into().unwrap();
        let stream = connector().connect(name, stream).await.unwrap();
        assert!(ask(stream).await.ends_with("bonjour"));
        // Plain HTTP is not answered, and does no harm.
        let plain = tokio::net::TcpStream::connect(addr).await.unwrap();
        assert!(!ask(plain).await.contains("bonjour"));
        stop.send(()).unwrap();
        server.await.unwrap();
    }

    #[tokio::test]
    async fn beyond_the_last_connection_the_refusal_comes_at_once() {
        let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let never = std::future::pending();
        tokio::spawn(listen(listener, None, Router::new(), LIMITS, never));
        let connect = || tokio::net::TcpStream::connect(addr);
        let held = [connect().await.unwrap(), connect().await.unwrap()];
        let refused = ask(connect().await.unwrap()).await;
        assert!(
            refused.starts_with("HTTP/1.1 503") && refused.contains("retry-after"),
            "{refused}"
        );
        let body = refused.split("\r\n\r\n").nth(1).unwrap();
        let error: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(error["error"]["type"], "overloaded_error");
        drop(held);
    }

    #[tokio::test]
    async fn with_tls_the_refusal_can_be_read_too() {
        let tls = tls(&fixture("cert.pem"), &fixture("key.pem")).unwrap();
        let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(listen(listener, Some(tls), Router::new(), LIMITS, std::future::pending()));
        let connect = || tokio::net::TcpStream::connect(addr);
        let held = [connect().await.unwrap(), connect().await.unwrap()];
        let stream = connect().await.unwrap();
        let stream = connector().connect("localhost".try_into().unwrap(), stream).await.unwrap();
        let refused = ask(stream).await;
        assert!(refused.starts_with("HTTP/1.1 503") && refused.contains("overloaded"), "{refused}");
        drop(held);
    }

    #[test]
    fn files_that_are_no_certificates_are_named() {
        let error = tls(&fixture("README.md"), &fixture("key.pem")).err().unwrap();
        assert!(
            format!("{error:#}").contains("cert.pem") || format!("{error:#}").contains("README.md"),
            "{error:#}"
        );
        let error = tls(&fixture("cert.pem"), &fixture("README.md")).err().unwrap();
        assert!(error.to_string().contains("README.md"), "{error:#}");
    }
}
