//! The served files. Their bytes are the same on every machine, and all lines differ.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::{fs, io};

use crate::plans::build::FILES;

/// Returns numbered lines of 16 bytes.
fn contents(bytes: u64) -> Vec<u8> {
    let lines = (0..bytes.div_ceil(16)).flat_map(|n| format!("{n:015}\n").into_bytes());
    lines.take(bytes as usize).collect()
}

/// Writes the site and returns the contents by name.
pub(crate) fn make(root: &Path) -> io::Result<BTreeMap<String, Arc<[u8]>>> {
    fs::create_dir_all(root)?;
    let write = |(name, bytes): (&str, u64)| {
        let body = contents(bytes);
        fs::write(root.join(name), &body)?;
        Ok((name.to_owned(), Arc::from(body)))
    };
    FILES.into_iter().map(write).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_have_their_length_and_differ_from_line_to_line() {
        for bytes in [0, 1, 16, 128, 10_240] {
            assert_eq!(contents(bytes).len() as u64, bytes);
        }
        assert_eq!(contents(33), b"000000000000000\n000000000000001\n0");
    }
}
