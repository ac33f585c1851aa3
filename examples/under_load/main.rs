//! Changes the running program while `wrk` sends requests over 1000 connections, on both engines. The exit code is 1 when a
//! request fails. Needs wrk.
//!
//!     cargo run --release --example under_load -- --neraca target/release/neraca [--seconds 30] replace|reload|admin
//!
//! | what | file |
//! |---|---|
//! | `replace`: the program is replaced ten times; one of two replicas is stopped | `replace.rs` |
//! | `reload`: the configuration file changes every 100 ms | `reload.rs` |
//! | `admin`: 300 clients of the admin listener, and the latency beside them | `admin.rs` |
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, ValueEnum};

mod admin;
mod reload;
mod replace;
mod service;
mod wrk;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Runs one case on one engine, with a directory of its own. False when a check has failed.
type Run = fn(&Arguments, &Path, &str) -> Outcome<bool>;

#[derive(Parser)]
struct Arguments {
    /// The program.
    #[arg(long)]
    neraca: PathBuf,
    /// Seconds of each load.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Connections of wrk.
    #[arg(long, default_value_t = 1000)]
    connections: usize,
    /// What happens under load.
    case: Case,
}

#[derive(Clone, Copy, ValueEnum)]
enum Case {
    Replace,
    Reload,
    Admin,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runs: &[(&str, Run)] = match arguments.case {
        Case::Replace => {
            &[("ten replacements", replace::replacements), ("one of two replicas", replace::replicas)]
        }
        Case::Reload => &[("reload", reload::run)],
        Case::Admin => &[("admin", admin::run)],
    };
    let place = std::env::temp_dir().join(format!("neraca-under-load-{}", std::process::id()));
    let mut good = true;
    for engine in ["thread", "async"] {
        for (name, run) in runs {
            let made = fs::create_dir_all(&place).map_err(Into::into);
            good &= made.and_then(|()| run(&arguments, &place, engine)).unwrap_or_else(|error| {
                eprintln!("{engine}: {name}: {error}");
                false
            });
            let _ = fs::remove_dir_all(&place);
        }
    }
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
