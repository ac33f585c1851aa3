//! The machine of one request and its response.
