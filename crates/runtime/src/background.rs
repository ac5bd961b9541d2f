//! Threads of what follows the log, apart from those that answer devices and people.
//!
//! Analysis takes a batch of events at once and whole milliseconds for it. On the threads of connections it would hold
//! up everybody whose acknowledgement is due meanwhile; so it has threads of its own, and those give way when the
//! processors are busy: what has been acknowledged can wait for its analysis, a device cannot wait for its
//! acknowledgement.

use tokio::runtime::{Builder, Handle, Runtime};

/// How much the threads give way (`nice`): about half of what a thread of connections gets, when all are busy.
#[cfg(target_os = "linux")]
const NICE: i32 = 3;

/// The threads. Dropped, they end on their own time.
pub struct Background(Option<Runtime>);

impl Background {
    /// As many as there are processors.
    ///
    /// # Errors
    /// When they cannot be started.
    pub fn start() -> std::io::Result<Self> {
        let mut threads = Builder::new_multi_thread();
        threads.thread_name("background").on_thread_start(give_way).enable_all();
        threads.build().map(|runtime| Self(Some(runtime)))
    }

    /// Where to start something on them.
    pub fn handle(&self) -> Handle {
        self.0.as_ref().map_or_else(Handle::current, |runtime| runtime.handle().clone())
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// The calling thread alone; a thread that may not is as all others are.
#[cfg(target_os = "linux")]
fn give_way() {
    let _ = rustix::process::setpriority_process(None, NICE);
}

#[cfg(not(target_os = "linux"))]
fn give_way() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_has_threads_of_its_own_which_end_with_it() {
        let background = Background::start().unwrap();
        let here = std::thread::current().id();
        let (there, name) = background
            .handle()
            .spawn(async { (std::thread::current().id(), std::thread::current().name().map(str::to_owned)) })
            .await
            .unwrap();
        assert_ne!(here, there);
        assert_eq!(name.as_deref(), Some("background"));
        drop(background);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn only_those_threads_give_way() {
        let background = Background::start().unwrap();
        let nice = || rustix::process::getpriority_process(None).unwrap();
        let before = nice();
        assert_eq!(background.handle().spawn(async move { nice() }).await.unwrap(), before.max(NICE));
        assert_eq!(nice(), before);
    }
}
