//! The reload of the configuration file and of certificates: what has changed in a file changes in the running process.
use std::path::PathBuf;
use std::sync::Arc;

use neraca::admin::ConfigurationFacts;
use neraca::engine::EngineHandle;
use parking_lot::Mutex;

use super::watch::WatchedFiles;

/// Reads the settings of the process again. The error is a text for the operator.
pub(crate) type ReadAgain<T> = Box<dyn Fn() -> Result<T, String> + Send>;

/// What runs in the process and follows its files.
pub(crate) trait Follower: Send {
    /// What the files are, with a verb, for the log.
    fn what(&self) -> String;

    /// The files of what the process does now.
    fn files(&self) -> Vec<PathBuf>;

    /// Learns what the engine has started.
    fn started(&mut self, _running: &EngineHandle) {}

    /// Reads the files and changes what has changed.
    ///
    /// # Errors
    /// When something is wrong. Then nothing has changed. The text says why.
    fn reload(&mut self, running: &EngineHandle) -> Result<(), String>;
}

/// The files that a running process follows.
pub(crate) struct Reloading {
    follower: Box<dyn Follower>,
    facts: Arc<Mutex<Option<ConfigurationFacts>>>,
    /// None before [`Reloading::watch`], or when the system cannot watch.
    files: Option<WatchedFiles>,
}

impl Reloading {
    /// Begins with what the process does now.
    pub(crate) fn new(follower: impl Follower + 'static) -> Self {
        let facts = Arc::new(Mutex::new(Some(ConfigurationFacts::default())));
        Reloading { follower: Box::new(follower), facts, files: None }
    }

    /// Returns what the admin listener tells of the configuration.
    pub(super) fn facts(&self) -> Arc<Mutex<Option<ConfigurationFacts>>> {
        Arc::clone(&self.facts)
    }

    /// Learns the listeners of the start.
    pub(super) fn started(&mut self, running: &EngineHandle) {
        self.follower.started(running);
    }

    /// Calls `changed` when the content of the configuration file or of a certificate is new.
    pub(super) fn watch(&mut self, changed: impl Fn() + Send + 'static) {
        self.files = WatchedFiles::new(changed);
        self.watch_files();
    }

    fn watch_files(&mut self) {
        if let Some(files) = &mut self.files {
            files.watch(&self.follower.files());
        }
    }

    /// Reads the files and changes what has changed. When something is wrong, nothing changes, and the reason is told.
    pub(super) fn reload(&mut self, running: &EngineHandle) {
        let result = self.follower.reload(running);
        self.watch_files();
        let what = self.follower.what();
        let mut facts = self.facts.lock();
        let facts = facts.get_or_insert_default();
        match result {
            Ok(()) => {
                facts.loaded += 1;
                facts.error = None;
                log::info!("{what} loaded");
            }
            Err(reason) => {
                facts.refused += 1;
                log::error!("{what} refused, and nothing changes: {reason}");
                facts.error = Some(reason);
            }
        }
    }
}
