//! What a package needs besides the program: shell completions and manual pages, made from the command line.
use std::io;
use std::path::Path;

use clap_complete::Shell;

use super::cli;

/// Returns the completions for a shell.
pub fn completions(shell: Shell) -> String {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut cli::command(), "neraca", &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// Writes the manual pages into a directory: one for the program, and one for each command.
///
/// # Errors
/// When a page cannot be written.
pub fn manual(directory: &Path) -> io::Result<()> {
    std::fs::create_dir_all(directory)?;
    clap_mangen::generate_to(cli::command(), directory)
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn every_shell_completes_the_options() {
        for shell in Shell::value_variants() {
            let text = completions(*shell);
            for option in ["drain-seconds", "admin-token-file", "balance", "simulate"] {
                assert!(text.contains(option), "{shell}: {option}");
            }
        }
    }

    #[test]
    fn there_is_a_page_for_each_command() {
        let directory = std::env::temp_dir().join(format!("neraca-man-{}", std::process::id()));
        manual(&directory).unwrap();
        let page = |name: &str| std::fs::read_to_string(directory.join(name)).unwrap();
        for (name, part) in [
            ("neraca.1", "neraca\\-balance(1)"),
            ("neraca-balance.1", "drain\\-seconds"),
            ("neraca-serve.1", "root"),
        ] {
            assert!(page(name).contains(part), "{name}");
        }
        let names = std::fs::read_dir(&directory).unwrap().count();
        assert_eq!(names, 6, "hidden commands have no page");
        std::fs::remove_dir_all(directory).unwrap();
    }
}
