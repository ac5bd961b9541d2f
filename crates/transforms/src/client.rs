//! The platform's side: the child, and what is asked of it.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use serde_json::value::RawValue;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::Mutex;
use tracing::warn;

use crate::protocol::{Answer, LINE_BYTES_MAX, Output, Question};

/// How long a program may take for all messages it is given at once.
const TIME_MAX: Duration = Duration::from_secs(2);

/// Why messages were not transformed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The text is no program.
    #[error("{0}")]
    Program(String),
    /// The program does not end, or takes more memory than there is for it.
    #[error("the program takes more than 2 s, or more memory than it may")]
    Endless,
    /// The worker cannot be started or spoken to.
    #[error("the process that runs transforms {0}")]
    Worker(String),
}

/// Runs programs in child processes, one for each who asks, so that a program without end holds up nobody else.
pub struct Transforms {
    /// The program and what it is called with.
    command: Option<(PathBuf, Vec<OsString>)>,
    workers: std::sync::Mutex<HashMap<String, Worker>>,
}

/// The child of one who asks, while there is one.
type Worker = Arc<Mutex<Option<Running>>>;

struct Running {
    /// Ends with this.
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Transforms {
    /// With a program that runs [`work`](crate::work); without one, whoever asks is told so.
    pub fn new(command: Option<(PathBuf, Vec<OsString>)>) -> Self {
        Self { command, workers: std::sync::Mutex::default() }
    }

    fn worker(&self, who: &str) -> Worker {
        let mut workers = self.workers.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Arc::clone(workers.entry(who.to_owned()).or_default())
    }

    /// Ends the child of somebody who asks no more.
    pub fn forget(&self, who: &str) {
        self.workers.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(who);
    }

    /// Whether a text is a program.
    ///
    /// # Errors
    /// [`Failure::Program`] says why not, and where.
    pub async fn check(&self, program: &str) -> Result<(), Failure> {
        self.run("", program, &[]).await.map(drop)
    }

    /// What a program makes of each message: other messages, perhaps none, or in words why nothing. `who` asks: one
    /// after the other, and beside all others.
    ///
    /// # Errors
    /// [`Failure`]; of [`Failure::Endless`] it is not known which message it was.
    pub async fn run(
        &self,
        who: &str,
        program: &str,
        inputs: &[Value],
    ) -> Result<Vec<Result<Vec<Box<RawValue>>, String>>, Failure> {
        let raw = inputs.iter().map(serde_json::value::to_raw_value).collect::<Result<_, _>>();
        let inputs = raw.map_err(|error| Failure::Worker(error.to_string()))?;
        let question = Question { program: program.to_owned(), inputs };
        let mut line = serde_json::to_vec(&question).map_err(|error| Failure::Worker(error.to_string()))?;
        line.push(b'\n');
        // Taken out: whoever is interrupted leaves no half of an answer for the next.
        let worker = self.worker(who);
        let mut held = worker.lock().await;
        let mut running = match held.take() {
            Some(running) => running,
            None => self.start()?,
        };
        let mut exchanged = tokio::time::timeout(TIME_MAX, running.exchange(&line)).await;
        if let Ok(Err(error)) = &exchanged {
            // A process may die of something else than what it was asked; what it was asked kills the next as well.
            running.report(error).await;
            running = self.start()?;
            exchanged = tokio::time::timeout(TIME_MAX, running.exchange(&line)).await;
        }
        match exchanged {
            Err(_) => Err(Failure::Endless),
            Ok(Err(error)) => {
                running.report(&error).await;
                Err(Failure::Endless)
            }
            Ok(Ok(answer)) => {
                *held = Some(running);
                match answer {
                    Answer::Refused(why) => Err(Failure::Program(why)),
                    Answer::Outputs(all) if all.len() == question.inputs.len() => Ok(all
                        .into_iter()
                        .map(|output| match output {
                            Output::Made(messages) => Ok(messages),
                            Output::Failed(why) => Err(why),
                        })
                        .collect()),
                    Answer::Outputs(_) => Err(Failure::Worker("answered something else than it was asked".into())),
                }
            }
        }
    }

    fn start(&self) -> Result<Running, Failure> {
        let fault = |error: io::Error| Failure::Worker(format!("cannot be started: {error}"));
        // It gets nothing of the platform's but its pipes and its standard error.
        let (program, arguments) =
            self.command.as_ref().ok_or_else(|| Failure::Worker("is not part of this program".into()))?;
        let mut child = Command::new(program)
            .args(arguments)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(fault)?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (to, from) = pipes.ok_or_else(|| fault(io::ErrorKind::BrokenPipe.into()))?;
        Ok(Running { child, to, from: BufReader::new(from) })
    }
}

impl Running {
    /// Ends it, and logs that it died, and how.
    async fn report(&mut self, error: &io::Error) {
        // It may have closed its output only.
        let _ = self.child.start_kill();
        let status = self.child.wait().await.map(|status| status.to_string()).unwrap_or_default();
        warn!(%error, %status, "the process that runs transforms died");
    }

    async fn exchange(&mut self, line: &[u8]) -> io::Result<Answer> {
        self.to.write_all(line).await?;
        self.to.flush().await?;
        let mut answer = vec![];
        let read = (&mut self.from).take(LINE_BYTES_MAX).read_until(b'\n', &mut answer).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(serde_json::from_slice(&answer)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A worker that is a script of the shell.
    fn script(text: &str) -> Transforms {
        Transforms::new(Some(("/bin/sh".into(), vec!["-c".into(), text.into()])))
    }

    #[tokio::test]
    async fn a_question_whose_process_died_is_asked_once_more() {
        let folder = tempfile::tempdir().unwrap();
        let answer = r#"read -r line && printf '%s\n' '{"outputs":[{"made":[7]}]}'"#;
        let once = format!("if /bin/mkdir '{}/died' 2>&-; then exit 3; fi; {answer}", folder.path().display());
        let made = script(&once).run("who", ".", &[Value::from(1)]).await.unwrap();
        assert_eq!(made[0].as_ref().unwrap()[0].get(), "7");
    }

    #[tokio::test]
    async fn what_kills_every_process_is_not_asked_again() {
        let folder = tempfile::tempdir().unwrap();
        let count = folder.path().join("count");
        let dies = script(&format!("echo >> '{}'; exit 3", count.display()));
        assert_eq!(dies.run("who", ".", &[Value::from(1)]).await.unwrap_err(), Failure::Endless);
        assert_eq!(std::fs::read_to_string(&count).unwrap().lines().count(), 2);
    }
}
