//! The cryptography that rustls uses. docs/tls.md says why it is ring.
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
#[cfg(feature = "aws-lc")]
use rustls::crypto::aws_lc_rs as cryptography;
#[cfg(not(feature = "aws-lc"))]
use rustls::crypto::ring as cryptography;
use rustls::server::ProducesTickets;

/// Returns the algorithms.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(cryptography::default_provider())
}

/// Makes the keys of session tickets. A key makes tickets for six hours and opens them for six more hours; then it is gone.
///
/// # Errors
/// When the system has no random bytes.
pub(super) fn tickets() -> Result<Arc<dyn ProducesTickets>, rustls::Error> {
    cryptography::Ticketer::new()
}
