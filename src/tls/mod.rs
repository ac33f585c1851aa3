//! TLS with clients and with backends: certificates, and what a listener and a cluster do with them.
mod certificates;
mod client;
mod handshakes;
mod names;
mod provider;
mod reasons;
mod server;
mod session;
mod settings;
#[cfg(test)]
mod tests;

pub use certificates::{Place, Remark};
pub use client::BackendTls;
pub use handshakes::{HANDSHAKES, Handshakes};
pub use server::Tls;
pub use session::{client_transforms, transforms};
pub use settings::{BackendTlsSettings, CertificateFiles, ClientCertificates, TlsSettings, TlsVersion};
