//! The served files. Their bytes are the same on every machine, and all lines differ.

use std::path::Path;
use std::{fs, io};

use crate::plans::build::FILES;

/// Returns numbered lines of 16 bytes.
fn contents(bytes: u64) -> Vec<u8> {
    let lines = (0..bytes.div_ceil(16)).flat_map(|n| format!("{n:015}\n").into_bytes());
    lines.take(bytes as usize).collect()
}

/// Writes the site.
pub(crate) fn make(root: &Path) -> io::Result<()> {
    fs::create_dir_all(root)?;
    FILES.into_iter().try_for_each(|(name, bytes)| fs::write(root.join(name), contents(bytes)))
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
