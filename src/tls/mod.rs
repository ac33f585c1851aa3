//! TLS for the connections of clients: certificates, and what a listener does with them.
mod certificates;
mod handshakes;
mod names;
mod provider;
mod server;
mod session;
mod settings;
#[cfg(test)]
mod tests;

pub use certificates::{Place, Remark};
pub use handshakes::{HANDSHAKES, Handshakes};
pub use server::Tls;
pub use session::{client_transforms, transforms};
pub use settings::{CertificateFiles, ClientCertificates, TlsSettings, TlsVersion};
