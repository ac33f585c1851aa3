//! TLS for the connections of clients: certificates, and what a listener does with them.
mod certificates;
mod names;
mod provider;
mod server;
mod session;
mod settings;
#[cfg(test)]
mod tests;

pub use certificates::{Place, Remark};
pub use server::Tls;
pub use session::transforms;
pub use settings::{CertificateFiles, ClientCertificates, TlsSettings, TlsVersion};
