//! The process that runs programs.

use std::io::{self, BufRead as _, Read as _, Write as _};

use rustix::process::{Resource, Rlimit, setrlimit};

use crate::program::Program;
use crate::protocol::{Answer, LINE_BYTES_MAX, Output, Question};

/// Address space that programs may take beyond what the process has when it begins: allocators reserve some beforehand,
/// and one that gets no page more ends the process.
const MEMORY_BYTES_MAX: u64 = 1 << 30;
/// Programs that are kept ready; the one that was not asked for longest goes.
const PROGRAMS_MAX: usize = 64;
/// Programs descend by recursion: they get a stack for what their bounds allow.
const STACK_BYTES: usize = 256 << 20;

/// Answers questions on the standard input until it ends.
///
/// # Errors
/// When the bounds cannot be set, or what comes is no question.
pub fn work() -> io::Result<()> {
    let worker = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(|| {
        confine()?;
        answer_all()
    })?;
    worker.join().unwrap_or_else(|_| Err(io::Error::other("a program broke the worker")))
}

/// From here on it opens no file and no socket, writes to its pipes only, and takes no more memory than it may.
fn confine() -> io::Result<()> {
    confine_memory()?;
    [Resource::Nofile, Resource::Fsize, Resource::Core].into_iter().try_for_each(|what| limit(what, 0))
}

fn confine_memory() -> io::Result<()> {
    // Pages: those that are mapped come first (proc_pid_statm(5)).
    let sizes = std::fs::read_to_string("/proc/self/statm")?;
    let pages = sizes.split(' ').next().and_then(|pages| pages.parse::<u64>().ok());
    let pages = pages.ok_or_else(|| io::Error::other("/proc/self/statm does not say what is mapped"))?;
    limit(Resource::As, pages * rustix::param::page_size() as u64 + MEMORY_BYTES_MAX)
}

fn limit(what: Resource, most: u64) -> io::Result<()> {
    Ok(setrlimit(what, Rlimit { current: Some(most), maximum: Some(most) })?)
}

/// Programs by text, the one asked for last at the end.
type Kept = Vec<(String, Result<Program, String>)>;

fn answer_all() -> io::Result<()> {
    let (mut questions, mut answers) = (io::stdin().lock(), io::stdout().lock());
    let mut kept = Kept::new();
    loop {
        let mut line = String::new();
        if (&mut questions).take(LINE_BYTES_MAX).read_line(&mut line)? == 0 {
            return Ok(());
        }
        let question: Question = serde_json::from_str(&line)?;
        serde_json::to_writer(&mut answers, &answer(&mut kept, question))?;
        answers.write_all(b"\n")?;
        answers.flush()?;
    }
}

fn answer(kept: &mut Kept, question: Question) -> Answer {
    let at = kept.iter().position(|(text, _)| *text == question.program);
    let (text, program) = match at {
        Some(at) => kept.remove(at),
        None => {
            if kept.len() >= PROGRAMS_MAX {
                drop(kept.remove(0));
            }
            let program = Program::read(&question.program);
            (question.program, program)
        }
    };
    let answer = match &program {
        Err(why) => Answer::Refused(why.clone()),
        Ok(program) => {
            let one = |input: &Box<_>| program.run(input).map_or_else(Output::Failed, Output::Made);
            Answer::Outputs(question.inputs.iter().map(one).collect())
        }
    };
    kept.push((text, program));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_reserved_before_leaves_programs_their_memory() {
        let has_room = |bytes| Vec::<u8>::new().try_reserve_exact(bytes).is_ok();
        let reserved = Vec::<u8>::with_capacity(1 << 30);
        confine_memory().unwrap();
        assert!(has_room(512 << 20));
        assert!(!has_room(2 << 30));
        drop(reserved);
    }
}
