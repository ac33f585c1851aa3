//! Sticky sessions: a cookie of ours names the backend that serves a client's session.
//!
//! The value of the cookie is a keyed hash of the backend's address. So a client cannot learn the address, and all
//! processes with the same key understand the cookie, also after a restart.
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use siphasher::sip::SipHasher24;

use super::backend_id::BackendId;
use crate::http::cookie;

/// The settings of sticky sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StickySettings {
    /// The name of the cookie.
    pub name: CookieName,
    /// The key of the values.
    pub key: StickyKey,
}

/// The name of a cookie: a token (RFC 6265 section 4.1.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CookieName(String);

/// A secret of 128 bits. Its `Debug` does not show it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct StickyKey(u128);

/// The reason to refuse the name of a cookie or a key: a text that begins with "expected".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidSticky(&'static str);

/// What a response tells the client about its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Session {
    /// Nothing: sessions are off, or the request keeps a cookie whose backend is full now.
    Unchanged,
    /// The backend that answers, in a new cookie.
    New,
    /// Nothing if this backend answers, because the cookie of the request names it; else the backend that answers.
    At(BackendId),
}

impl StickySettings {
    /// Returns the value that stands for the backend at this address.
    ///
    /// SipHash-2-4 is a keyed hash for short inputs. With a secret key of 128 bits, nobody can compute the value of an
    /// address. A value of 64 bits is enough: a client that guesses the value of a backend has only chosen this backend.
    pub(super) fn value(&self, address: SocketAddr) -> u64 {
        SipHasher24::new_with_key(&self.key.0.to_be_bytes()).hash(address.to_string().as_bytes())
    }
}

impl CookieName {
    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for CookieName {
    type Err = InvalidSticky;

    fn from_str(name: &str) -> Result<Self, InvalidSticky> {
        const EXPECTED: &str =
            "expected the name of a cookie: letters, digits and any of !#$%&'*+-.^_`|~, such as session";
        cookie::is_token(name).then(|| CookieName(name.to_owned())).ok_or(InvalidSticky(EXPECTED))
    }
}

impl FromStr for StickyKey {
    type Err = InvalidSticky;

    fn from_str(key: &str) -> Result<Self, InvalidSticky> {
        const EXPECTED: &str = "expected 32 hexadecimal digits, such as those of 'openssl rand -hex 16'";
        let is_key = key.len() == 32 && key.bytes().all(|byte| byte.is_ascii_hexdigit());
        let key = u128::from_str_radix(key, 16).ok().filter(|_| is_key);
        key.map(StickyKey).ok_or(InvalidSticky(EXPECTED))
    }
}

impl fmt::Debug for StickyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StickyKey(..)")
    }
}

impl fmt::Display for InvalidSticky {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for InvalidSticky {}

impl Session {
    /// True when a response of this backend gets a cookie.
    pub(crate) fn begins_at(self, backend: BackendId) -> bool {
        match self {
            Session::Unchanged => false,
            Session::New => true,
            Session::At(named) => named != backend,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "000102030405060708090a0b0c0d0e0f";

    fn value(key: &str, address: &str) -> u64 {
        let settings = StickySettings { name: "a".parse().unwrap(), key: key.parse().unwrap() };
        settings.value(address.parse().unwrap())
    }

    #[test]
    fn a_value_depends_on_key_and_address_and_never_changes() {
        // The values are in the cookies of clients, so a new version must compute the same values.
        let cases = [
            (KEY, "10.0.0.1:80", 0x6a83_5ec7_79b3_dc3d),
            (KEY, "10.0.0.1:81", 0x0899_6cd9_d105_57b5),
            (KEY, "[2001:db8::1]:80", 0xf0c1_7e47_0599_f322),
            ("000102030405060708090a0b0c0d0e0e", "10.0.0.1:80", 0x74e6_32c1_0df2_3747),
        ];
        for (key, address, expected) in cases {
            assert_eq!(value(key, address), expected, "{key} {address}");
        }
        // The first value of the authors of SipHash-2-4, for this key and no input.
        let key: StickyKey = KEY.parse().unwrap();
        let hash = SipHasher24::new_with_key(&key.0.to_be_bytes()).hash(b"");
        assert_eq!(hash, 0x726f_db47_dd0e_0e31);
    }

    #[test]
    fn names_and_keys_have_a_form() {
        for name in ["session", "SRV", "__Host-a", "a.b!~", "7"] {
            assert_eq!(name.parse::<CookieName>().unwrap().as_str(), name);
        }
        for name in ["", "a b", "a=b", "a;b", "a,b", "\"a\"", "a\r\nb", "é", "a/b", "(a)"] {
            assert!(name.parse::<CookieName>().is_err(), "{name:?}");
        }
        assert!("ABCDEFabcdef01234567890123456789".parse::<StickyKey>().is_ok());
        let signed = format!("+{}", &KEY[1..]);
        let long = format!("{KEY}0");
        for key in ["", "secret", &KEY[1..], &long, &signed, "000102030405060708090a0b0c0d0e0g"] {
            assert!(key.parse::<StickyKey>().is_err(), "{key:?}");
        }
        assert_eq!(format!("{:?}", KEY.parse::<StickyKey>().unwrap()), "StickyKey(..)");
    }
}
